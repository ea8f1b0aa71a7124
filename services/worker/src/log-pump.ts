// Moves a job's output into its log: lines are batched while one batch is in flight, and the job's pipes are held back when
// both are full, so memory stays bounded and nothing is dropped. The first line goes out at once. A batch is sent until it
// is stored (the store recognises it when it comes twice) or refused, which means that this attempt is somebody else's.
import type { Readable } from "node:stream";
import { type LogBatch, type LogSegment, limits, ProblemError } from "@aether/contracts";
import { countNewlines, createLineSplitter, type Lines } from "./line-splitter.ts";

export interface LogPump {
  /** Resolves when both streams have ended and the last batch is stored; rejects when the log refuses this attempt. */
  readonly done: Promise<{ last_seq: number; bytes: number; truncated: boolean }>;
}

export interface LogPumpOptions {
  attempt: number;
  /** Where the log of earlier attempts ended, and what the job may use altogether. */
  log: { last_seq: number; bytes: number; max_bytes: number };
  send(batch: LogBatch, bytes: readonly Buffer[]): Promise<void>;
  now(): number;
  signal: AbortSignal;
}

const retryMs = 200;

/** Starts pumping the two streams. */
export function startLogPump(stdout: Readable, stderr: Readable, options: LogPumpOptions): LogPump {
  const streams = [stdout, stderr];
  let seq = options.log.last_seq;
  let bytes = options.log.bytes;
  let pending: { segments: LogSegment[]; parts: Buffer[]; bytes: number; lines: number } = empty();
  let dropped: { lines: number; bytes: number } | null = null;
  let sending: Promise<void> | null = null;
  const finished = Promise.withResolvers<{ last_seq: number; bytes: number; truncated: boolean }>();
  finished.promise.catch(() => {}); // whoever awaits `done` hears of it

  function add(stream: 1 | 2, found: Lines[]): void {
    const t = options.now();
    for (const part of found) {
      const kept = dropped ? null : fit(part, options.log.max_bytes - bytes);
      if (kept) {
        const { bytes: text, lines, partial } = kept;
        bytes += text.length;
        pending.segments.push(
          partial ? { t, s: stream, n: lines, b: text.length, p: 1 } : { t, s: stream, n: lines, b: text.length },
        );
        pending.parts.push(text);
        pending.bytes += text.length;
        pending.lines += lines;
      }
      if (kept !== part) {
        dropped ??= { lines: 0, bytes: 0 };
        dropped.lines += part.lines - (kept?.lines ?? 0);
        dropped.bytes += part.bytes.length - (kept?.bytes.length ?? 0);
      }
    }
    kick();
  }

  function kick(): void {
    if (!sending && pending.segments.length > 0) {
      sending = flush()
        .catch((error: unknown) => finished.reject(error))
        .finally(() => {
          sending = null;
        });
    }
    if (pending.bytes >= limits.logBatchBytes) for (const stream of streams) stream.pause();
  }

  async function flush(): Promise<void> {
    while (pending.segments.length > 0) {
      const { segments, parts, lines } = pending;
      pending = empty();
      for (const stream of streams) stream.resume();
      const batch: LogBatch = { attempt: options.attempt, first_seq: seq + 1, last_seq: seq + lines, segments };
      await sendUntilStored(options, batch, parts);
      seq += lines;
    }
  }

  async function finish(): Promise<void> {
    await Promise.all([pump(stdout, 1, add), pump(stderr, 2, add)]);
    if (dropped) {
      pending.segments.push({ t: options.now(), x: { reason: "log_limit", ...dropped } });
      pending.lines++;
    }
    kick();
    while (sending !== null) await sending;
    finished.resolve({ last_seq: seq, bytes, truncated: dropped !== null });
  }

  void finish().catch((error: unknown) => finished.reject(error));
  return { done: finished.promise };
}

/** The whole lines that fit into the room left in the log; the very same object when all do, null when none does. */
function fit(found: Lines, room: number): Lines | null {
  if (found.bytes.length <= room) return found;
  const end = room > 0 ? found.bytes.lastIndexOf(10, room - 1) + 1 : 0;
  if (end === 0) return null;
  const bytes = found.bytes.subarray(0, end);
  return { bytes, lines: countNewlines(bytes), partial: found.partial };
}

function pump(stream: Readable, number: 1 | 2, add: (stream: 1 | 2, lines: Lines[]) => void): Promise<void> {
  const splitter = createLineSplitter(limits.logLineBytes);
  return new Promise((resolve) => {
    let ended = false;
    const end = () => {
      if (ended) return;
      ended = true;
      add(number, splitter.end());
      resolve();
    };
    stream.on("data", (chunk: Buffer) => add(number, splitter.push(chunk)));
    stream.once("end", end);
    stream.once("error", end); // a pipe that breaks has ended; what was read from it is kept
    stream.once("close", end);
  });
}

async function sendUntilStored(options: LogPumpOptions, batch: LogBatch, bytes: readonly Buffer[]): Promise<void> {
  for (;;) {
    options.signal.throwIfAborted();
    try {
      return await options.send(batch, bytes);
    } catch (error) {
      if (error instanceof ProblemError && error.problem.status < 500) throw error;
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}

function empty() {
  return { segments: [], parts: [], bytes: 0, lines: 0 };
}
