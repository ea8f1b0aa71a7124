// Follows a stream from a sequence on, in order, for ever: the feed of views and of whatever is derived from state. A gap or a
// restarted server is the ordered consumer's business; a stream that was made anew (its creation time changed) is the
// caller's, who must start over.
import { setImmediate } from "node:timers/promises";
import type { JsMsg } from "@nats-io/jetstream";
import type { Bus } from "./connection.ts";

const batchMax = 500;
const batchMaxBytes = 1024 * 1024;

export interface TailMessage {
  subject: string;
  sequence: number;
  /** Null for a deletion marker. */
  data: Uint8Array | null;
  time: Date;
  /** What a header says; undefined where there is none of that name. */
  header(name: string): string | undefined;
}

export interface TailOptions {
  stream: string;
  subject: string;
  /** First sequence wanted. */
  from: number;
  /** How many messages may be on their way at a time; fewer where they are large. */
  inFlight?: number | undefined;
  /** Between two calls: what comes meanwhile shares the next one, and the process has its hands free. */
  gatherMs?: number | undefined;
  /** Called in order, with as many messages as are at hand and about a mebibyte at most; the next call waits for it. */
  onMessages(messages: TailMessage[]): Promise<void> | void;
}

/** What a stream is at this moment. */
export async function streamState(
  bus: Bus,
  stream: string,
): Promise<{ created: string; lastSequence: number; firstSequence: number; bytes: number }> {
  const info = await bus.jsm.streams.info(stream);
  return {
    created: info.created,
    lastSequence: info.state.last_seq,
    firstSequence: info.state.first_seq,
    bytes: info.state.bytes,
  };
}

/** Starts following; the handle ends it. A failure inside `onMessages` is logged and the same messages come again. */
export function startTail(bus: Bus, options: TailOptions): AsyncDisposable {
  const ended = new AbortController();
  const running = follow(bus, options, ended.signal);
  return {
    async [Symbol.asyncDispose]() {
      ended.abort();
      await running;
    },
  };
}

async function follow(bus: Bus, options: TailOptions, ended: AbortSignal): Promise<void> {
  let next = options.from;
  while (!ended.aborted) {
    const { reconnects } = bus;
    try {
      const consumer = await bus.js.consumers.get(options.stream, {
        filter_subjects: options.subject,
        opt_start_seq: Math.max(1, next),
      });
      const messages = await consumer.consume({ max_messages: options.inFlight ?? batchMax });
      const stop = () => messages.stop();
      ended.addEventListener("abort", stop, { once: true });
      // The consumer lives in the server's memory; its own watch would take the better part of a minute to miss it.
      using _ = bus.onReconnect(stop);
      // Ended, or the server started again, while the consumer was made: the watch above has not seen it.
      if (ended.aborted || bus.reconnects !== reconnects) stop();
      try {
        await handOver(messages, { ...options, from: next }, ended, (sequence) => {
          next = sequence + 1;
        });
      } finally {
        ended.removeEventListener("abort", stop);
        messages.stop();
        await consumer.delete().catch(() => false);
      }
    } catch (error) {
      if (!ended.aborted) {
        bus.log.warn({ err: error, stream: options.stream }, "tail interrupted, it goes on from where it was");
      }
    }
    if (!ended.aborted) await pause(200, ended);
  }
}

/** Gives what has arrived while the call before was busy to the next call, all at once. */
async function handOver(
  messages: AsyncIterable<JsMsg> & { stop(): void },
  { from, gatherMs, onMessages }: TailOptions,
  ended: AbortSignal,
  onDone: (sequence: number) => void,
): Promise<void> {
  const arrived: TailMessage[] = [];
  let busy: Promise<void> | null = null;
  let failure: { error: unknown } | null = null;
  const drain = async () => {
    while (arrived.length > 0) {
      const batch = arrived.splice(0, batchOf(arrived));
      await onMessages(batch);
      onDone(batch.at(-1)?.sequence ?? 0);
      if (gatherMs !== undefined && !ended.aborted) await pause(gatherMs, ended);
      else if (arrived.length > 0) await setImmediate(); // others of this process have their turn
    }
  };
  const start = () => {
    busy ??= drain()
      .catch((error: unknown) => {
        failure = { error };
        messages.stop(); // or the failure would be met only when the next message comes
      })
      .finally(() => {
        busy = null;
        if (arrived.length > 0 && !failure) start(); // it came after the last look and before this
      });
  };
  for await (const message of messages) {
    if (message.seq < from) continue;
    arrived.push(toTailMessage(message));
    start();
    if (arrived.length >= batchMax) await busy;
    if (failure) break;
  }
  while (busy !== null) await busy;
  if (failure) throw (failure as { error: unknown }).error;
}

/** How many of the messages make up one call. */
function batchOf(messages: readonly TailMessage[]): number {
  let bytes = 0;
  const over = messages.findIndex(({ data }) => {
    bytes += data?.length ?? 0;
    return bytes > batchMaxBytes;
  });
  return over < 0 ? batchMax : Math.max(1, Math.min(over, batchMax));
}

function toTailMessage(message: JsMsg): TailMessage {
  const deleted = message.headers?.get("KV-Operation") === "DEL" || message.headers?.get("KV-Operation") === "PURGE";
  return {
    subject: message.subject,
    sequence: message.seq,
    data: deleted ? null : message.data,
    time: message.time,
    header: (name) => message.headers?.get(name) || undefined,
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { once: true });
  });
}
