// When a checkpoint is due: soon after the start, after so many records, after a minute that brought some, and at the end.
import type { ChainEnd } from "@aether/chain";
import type { Logger } from "@aether/telemetry";
import type { Checkpoints } from "./checkpoints.ts";

const everyRecords = 1000;
const everyMs = 60_000;
const firstMs = 500;

export interface Checkpointer extends AsyncDisposable {
  /** Told whenever the chain has grown. */
  grown(end: ChainEnd): void;
  /** Writes one of where the chain ends now; resolves also where that fails, which `error` tells. */
  now(): Promise<void>;
  /** Why no checkpoint could be written lately; null when it could. */
  readonly error: string | null;
  /** When the newest one was written, on the monotonic clock; null before the first. */
  readonly writtenAtMs: number | null;
}

/** Starts writing checkpoints; the first is due with the next record that comes after `end`. */
export function startCheckpointer(checkpoints: Checkpoints, start: ChainEnd, log: Logger): Checkpointer {
  let [newest, written] = [start, start];
  let writing: Promise<void> | null = null;
  let error: string | null = null;
  let writtenAtMs: number | null = null;
  const write = async () => {
    const end = newest;
    try {
      await checkpoints.append(checkpoints.sign(end));
      written = end;
      writtenAtMs = performance.now();
      error = null;
    } catch (cause) {
      error = cause instanceof Error ? cause.message : String(cause);
      log.error({ err: cause }, "an audit checkpoint could not be written");
    }
  };
  const due = () => {
    if (newest.seq > written.seq) writing ??= write().finally(() => (writing = null));
  };
  const now = async () => {
    await writing;
    due();
    await writing;
  };
  const first = setTimeout(due, firstMs).unref();
  const timer = setInterval(due, everyMs).unref();
  return {
    get error() {
      return error;
    },
    get writtenAtMs() {
      return writtenAtMs;
    },
    grown(end) {
      newest = end;
      if (newest.seq - written.seq >= everyRecords) due();
    },
    now,
    async [Symbol.asyncDispose]() {
      clearTimeout(first);
      clearInterval(timer);
      await now();
    },
  };
}
