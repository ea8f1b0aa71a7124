// The log of a job as frames. A follow survives its connection: it comes back and goes on after the last seq it has given, so
// a frame is given once whatever dies in between. It is over when the `eof` frame came; an end without one is a broken
// connection too. A connection that sends neither frames nor heartbeats is taken for dead.
import { setTimeout } from "node:timers/promises";
import { formatQuery, LogFrame, limits, ProblemError, readLogs } from "@aether/contracts";
import { ConnectError } from "@aether/http";
import { isOk, toProblemError } from "./call.ts";
import { readNdjsonBatches } from "./ndjson-batches.ts";
import type { Transport } from "./transport.ts";

export interface LogOptions {
  follow?: boolean;
  /** Only frames with a greater seq. */
  after?: number;
  /** Only the last frames; not with `after`. */
  tail?: number;
  /** A duration back, or a time. */
  since?: string;
  stream?: "stdout" | "stderr";
  signal?: AbortSignal;
  /** How long a follow tries to come back; a minute where absent. */
  resumeForMs?: number;
}

const resumeForMs = 60_000;
const stepMs = 100;
const stepMaxMs = 2_000;
const silenceMaxMs = 3 * limits.followHeartbeatMs;

/** A follow that ended before its `eof`. */
class BrokenFollow extends Error {
  override readonly name = "BrokenFollow";
}

/** Frames in order, each once, without heartbeats; a follow ends with the `eof` frame. Throws ProblemError. */
export async function* readLogFrames(
  transport: Transport,
  id: string,
  options: LogOptions,
): AsyncGenerator<LogFrame, void, void> {
  for await (const batch of readLogBatches(transport, id, options)) yield* batch;
}

/** The same, with the frames that came together given together: a long log costs a turn for each batch, not for each line. */
export async function* readLogBatches(
  transport: Transport,
  id: string,
  options: LogOptions,
): AsyncGenerator<LogFrame[], void, void> {
  let after = options.after;
  let brokenAt: number | null = null;
  const reading = { began: false };
  for (let tries = 0; ; tries++) {
    try {
      for await (const batch of readOnce(
        transport,
        id,
        { ...options, ...(after !== undefined && { after }) },
        reading,
      )) {
        for (const frame of batch) if ("seq" in frame) after = frame.seq;
        brokenAt = null;
        tries = 0;
        yield batch;
      }
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      // What fails before anything was given is the caller's to know; only what had begun is gone on with.
      if (!options.follow || !reading.began || !isPassing(error)) throw error;
      brokenAt ??= performance.now();
      if (performance.now() - brokenAt > (options.resumeForMs ?? resumeForMs)) throw error;
    }
    await setTimeout(Math.min(stepMs * 2 ** tries, stepMaxMs), undefined, options.signal && { signal: options.signal });
  }
}

async function* readOnce(
  transport: Transport,
  id: string,
  options: LogOptions,
  reading: { began: boolean },
): AsyncGenerator<LogFrame[]> {
  const silence = new AbortController();
  const timer = globalThis.setTimeout(() => silence.abort(), silenceMaxMs);
  const signal = options.signal ? AbortSignal.any([options.signal, silence.signal]) : silence.signal;
  try {
    const response = await transport.request({ method: "GET", path: toPath(id, options), headers: {}, signal });
    if (!isOk(response.status)) throw await toProblemError(response);
    reading.began = true;
    for await (const values of readNdjsonBatches(response.body)) {
      timer.refresh();
      const { frames, end } = toFrames(values);
      if (frames.length > 0) yield frames;
      if (end instanceof ProblemError) throw end;
      if (end) return;
    }
  } catch (error) {
    if (silence.signal.aborted) throw new BrokenFollow("the log went silent", { cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
  }
  if (options.follow) throw new BrokenFollow("the log ended before the job");
}

/** The frames to give, up to the end where it is among them: the job's, or an error. */
function toFrames(values: readonly unknown[]): { frames: LogFrame[]; end: ProblemError | "eof" | null } {
  const frames: LogFrame[] = [];
  for (const value of values) {
    const frame = LogFrame.parse(value);
    if ("type" in frame) {
      if (frame.type === "error") return { frames, end: toError(frame.problem) };
      if (frame.type === "heartbeat") continue;
    }
    frames.push(frame);
    if ("type" in frame && frame.type === "eof") return { frames, end: "eof" };
  }
  return { frames, end: null };
}

function toPath(id: string, { follow, after, tail, since, stream }: LogOptions): string {
  const path = readLogs.http?.path.replace("{id}", encodeURIComponent(id));
  // Once a frame has come, its seq says where to go on, and the tail is no longer counted from the end.
  const from = after === undefined ? { tail } : { after };
  return `/v0${path}${formatQuery({ ...(follow && { follow: 1 }), ...from, since, stream })}`;
}

function toError(problem: object): ProblemError {
  return ProblemError.from({ type: "urn:aether:problem:internal-error", title: "", status: 500, ...problem });
}

/** Whether it may be over soon: the services restart, or the connection broke. Any other error stays one. */
function isPassing(error: unknown): boolean {
  if (error instanceof ProblemError) return error.problem.status === 503 || error.problem.status === 504;
  if (error instanceof ConnectError || error instanceof BrokenFollow) return true;
  return error instanceof Error && "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
}
