// Frames of a log as what the job wrote: stdout to stdout and stderr to stderr, byte for byte, in their order. Lines that
// come together are written together, because a write for each would be most of the work of a long log.
import type { LogFrame } from "@aether/contracts";
import { formatBytes } from "./format.ts";
import type { Output, Terminal } from "./terminal.ts";

export interface LogWriter {
  /** Resolves when there is room for more. */
  write(frames: readonly LogFrame[]): Promise<void>;
}

/** Makes a writer; `beforeWrite` is called before anything reaches the terminal. */
export function createLogWriter(
  { out, err }: Terminal,
  { timestamps = false, beforeWrite = () => {} }: { timestamps?: boolean; beforeWrite?: () => void } = {},
): LogWriter {
  const midLine = new Set<Output>();
  let text = "";
  let to = out;
  const flush = () => {
    if (text === "") return;
    beforeWrite();
    to.write(text);
    text = "";
  };
  const turnTo = (next: Output) => {
    if (next !== to) flush();
    to = next;
  };
  const add = (frame: Extract<LogFrame, { stream: string }>) => {
    turnTo(frame.stream === "stdout" ? out : err);
    if (timestamps && !midLine.has(to)) text += `${frame.ts} `;
    if (frame.encoding === "base64") {
      flush();
      beforeWrite();
      to.write(Buffer.from(frame.data, "base64"));
    } else text += frame.data;
    if (frame.partial) midLine.add(to);
    else {
      text += "\n";
      midLine.delete(to);
    }
  };
  return {
    async write(frames) {
      for (const frame of frames) {
        if ("stream" in frame) add(frame);
        else if (frame.type === "truncated") {
          turnTo(err);
          text += `aether: ${describeCut(frame)}\n`;
        }
      }
      flush();
      await Promise.all([out.drained(), err.drained()]);
    },
  };
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
