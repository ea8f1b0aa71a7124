// Frames of a log as what the job wrote: stdout to stdout and stderr to stderr, byte for byte, in their order. Lines that
// come together are written together, because a write for each would be most of the work of a long log.
import type { LogFrame } from "@aether/contracts";
import { formatBytes } from "./format.ts";
import type { Output, Terminal } from "./terminal.ts";

const flushBytes = 64 * 1024;

export interface LogWriter {
  write(frame: LogFrame): void;
  flush(): void;
}

/** Makes a writer; `beforeWrite` is called before anything reaches the terminal. */
export function createLogWriter(
  { out, err }: Terminal,
  { timestamps = false, beforeWrite = () => {} }: { timestamps?: boolean; beforeWrite?: () => void } = {},
): LogWriter {
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let to: Output = out;
  let scheduled: NodeJS.Immediate | undefined;
  const midLine = new Set<Output>();

  const flush = () => {
    if (scheduled) clearImmediate(scheduled);
    scheduled = undefined;
    if (waitingBytes === 0) return;
    beforeWrite();
    to.write(waiting.length === 1 && waiting[0] ? waiting[0] : Buffer.concat(waiting));
    waiting = [];
    waitingBytes = 0;
  };
  const add = (next: Output, bytes: Buffer) => {
    if (next !== to) flush();
    to = next;
    waiting.push(bytes);
    waitingBytes += bytes.length;
    if (waitingBytes >= flushBytes) flush();
    else scheduled ??= setImmediate(flush);
  };
  return {
    write(frame) {
      if ("stream" in frame) {
        const output = frame.stream === "stdout" ? out : err;
        add(output, Buffer.concat([stamp(frame.ts, timestamps && !midLine.has(output)), bytesOf(frame)]));
        if (frame.partial) midLine.add(output);
        else midLine.delete(output);
      } else if ("type" in frame && frame.type === "truncated") {
        add(err, Buffer.from(`aether: ${describeCut(frame)}\n`));
      }
    },
    flush,
  };
}

function stamp(ts: string, wanted: boolean): Buffer {
  return Buffer.from(wanted ? `${ts} ` : "");
}

function bytesOf(frame: { data: string; encoding?: string | undefined; partial?: true | undefined }): Buffer {
  const line = Buffer.from(frame.data, frame.encoding === "base64" ? "base64" : "utf8");
  return frame.partial ? line : Buffer.concat([line, Buffer.from("\n")]);
}

function describeCut({ reason, lines, bytes }: Extract<LogFrame, { type: "truncated" }>): string {
  const why = {
    log_limit: "the job wrote more than its log may hold",
    worker_lost: "its worker ended before it had delivered them",
    retention: "the log is older than logs are kept",
  }[reason];
  const what = lines === null ? "lines are missing here" : `${lines} lines are missing here`;
  return `${what}${bytes === null ? "" : ` (${formatBytes(bytes)})`}: ${why}`;
}
