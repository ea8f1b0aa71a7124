// The log of a job as frames: a follow goes on after the last seq it has given, and is over when the `eof` frame came.
import { formatQuery, LogFrame, readLogs } from "@aether/contracts";
import { type FollowOptions, type Reading, readResumed, toError } from "./resume.ts";
import type { Transport } from "./transport.ts";

export interface LogOptions extends FollowOptions {
  /** Only frames with a greater seq. */
  after?: number;
  /** Only the last frames; not with `after`. */
  tail?: number;
  /** A duration back, or a time. */
  since?: string;
  stream?: "stdout" | "stderr";
}

/** Frames in order, each once, without heartbeats; a follow ends with the `eof` frame. Throws ProblemError. */
export async function* readLogFrames(
  transport: Transport,
  id: string,
  options: LogOptions,
): AsyncGenerator<LogFrame, void, void> {
  for await (const batch of readLogBatches(transport, id, options)) yield* batch;
}

/** The same, with the frames that came together given together. */
export function readLogBatches(
  transport: Transport,
  id: string,
  options: LogOptions,
): AsyncGenerator<LogFrame[], void, void> {
  let after = options.after;
  const reading: Reading<LogFrame> = {
    path: () => toPath(id, { ...options, ...(after !== undefined && { after }) }),
    take(values) {
      const { frames, end } = toFrames(values);
      for (const frame of frames) if ("seq" in frame) after = frame.seq;
      return { frames, end };
    },
  };
  return readResumed(transport, reading, options);
}

function toFrames(values: readonly unknown[]): ReturnType<Reading<LogFrame>["take"]> {
  const frames: LogFrame[] = [];
  for (const value of values) {
    const frame = LogFrame.parse(value);
    if ("type" in frame) {
      if (frame.type === "error") return { frames, end: toError(frame.problem) };
      if (frame.type === "heartbeat") continue;
    }
    frames.push(frame);
    if ("type" in frame && frame.type === "eof") return { frames, end: "last" };
  }
  return { frames, end: null };
}

function toPath(id: string, { follow, after, tail, since, stream }: LogOptions): string {
  const path = readLogs.http?.path.replace("{id}", encodeURIComponent(id));
  // Once a frame has come, its seq says where to go on, and the tail is no longer counted from the end.
  const from = after === undefined ? { tail } : { after };
  return `/v0${path}${formatQuery({ ...(follow && { follow: 1 }), ...from, since, stream })}`;
}
