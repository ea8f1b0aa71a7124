// Frames of an answer that goes on, each given once whatever dies in between. A follow survives its connection: it comes back
// and goes on after the last frame it has given. It is over when its last frame came; an end without one is a broken
// connection too. A connection that sends neither frames nor heartbeats is taken for dead.
import { setTimeout } from "node:timers/promises";
import { limits, ProblemError } from "@aether/contracts";
import { ConnectError } from "@aether/http";
import { isOk, toProblemError } from "./call.ts";
import { readNdjsonBatches } from "./ndjson-batches.ts";
import type { Transport } from "./transport.ts";

export interface FollowOptions {
  follow?: boolean;
  signal?: AbortSignal;
  /** How long a follow tries to come back; a minute where absent. */
  resumeForMs?: number;
}

/** What is read, and how far it has come. */
export interface Reading<T> {
  /** The request for what comes after all that was taken. */
  path(): string;
  /** The frames to give of those that came together, up to the end where it is among them: the last frame, or an error. */
  take(values: readonly unknown[]): { frames: T[]; end: ProblemError | "last" | null };
  /** Whether an answer that ends rightly is over: what is no follow of something that goes on, and has no last frame. */
  readonly endsByItself?: boolean;
}

const resumeForMs = 60_000;
const stepMs = 100;
const stepMaxMs = 2_000;
const silenceMaxMs = 3 * limits.followHeartbeatMs;

/** A follow that ended before its last frame. */
class BrokenFollow extends Error {
  override readonly name = "BrokenFollow";
}

/** Frames in order, each once; those that came together are given together: a turn for each batch, not for each frame. */
export async function* readResumed<T>(
  transport: Transport,
  reading: Reading<T>,
  options: FollowOptions,
): AsyncGenerator<T[], void, void> {
  let brokenAt: number | null = null;
  const began = { value: false };
  for (let tries = 0; ; tries++) {
    try {
      for await (const batch of readOnce(transport, reading, options, began)) {
        brokenAt = null;
        tries = 0;
        yield batch;
      }
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      // What fails before anything was given is the caller's to know; only what had begun is gone on with.
      if (!options.follow || !began.value || !isPassing(error)) throw error;
      brokenAt ??= performance.now();
      if (performance.now() - brokenAt > (options.resumeForMs ?? resumeForMs)) throw error;
    }
    await setTimeout(Math.min(stepMs * 2 ** tries, stepMaxMs), undefined, options.signal && { signal: options.signal });
  }
}

async function* readOnce<T>(
  transport: Transport,
  reading: Reading<T>,
  options: FollowOptions,
  began: { value: boolean },
): AsyncGenerator<T[]> {
  const silence = new AbortController();
  const timer = globalThis.setTimeout(() => silence.abort(), silenceMaxMs);
  const signal = options.signal ? AbortSignal.any([options.signal, silence.signal]) : silence.signal;
  try {
    const response = await transport.request({ method: "GET", path: reading.path(), headers: {}, signal });
    if (!isOk(response.status)) throw await toProblemError(response);
    began.value = true;
    for await (const values of readNdjsonBatches(response.body)) {
      timer.refresh();
      const { frames, end } = reading.take(values);
      if (frames.length > 0) yield frames;
      if (end instanceof ProblemError) throw end;
      if (end) return;
    }
  } catch (error) {
    if (silence.signal.aborted) throw new BrokenFollow("what was followed went silent", { cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
  }
  if (options.follow && !reading.endsByItself) throw new BrokenFollow("what was followed ended before its last frame");
}

/** The exception for a problem that came as a frame. */
export function toError(problem: object): ProblemError {
  return ProblemError.from({ type: "urn:aether:problem:internal-error", title: "", status: 500, ...problem });
}

/** Whether it may be over soon: the services restart, or the connection broke. Any other error stays one. */
function isPassing(error: unknown): boolean {
  if (error instanceof ProblemError) return error.problem.status === 503 || error.problem.status === 504;
  if (error instanceof ConnectError || error instanceof BrokenFollow) return true;
  return error instanceof Error && "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
}
