// A KV bucket with one writer, which may therefore decide from a view: every write expects the stream to end where this
// writer last saw it end, so nothing can have come in between that its view has not seen.
//
// A writer begins by taking the bucket over: a record under `writer` that names it. Whoever wrote before finds the end of
// the stream moved and that record changed, and never writes again. A write whose outcome is not known is settled by
// reading: either it stands there, or it is tried again at the end as it is now, where the earlier try can no longer be taken.
import { randomUUID } from "node:crypto";
import { limits } from "@aether/contracts";
import { headers } from "@nats-io/transport-node";
import { type Entry, isWrongSequence } from "./bucket.ts";
import type { Bus } from "./connection.ts";
import { lastMessage } from "./messages.ts";
import { streamState } from "./tail.ts";

/** Key of the record that names the writer; views pass it over. */
export const ledgerWriterKey = "writer";
const triesMax = 5;
/** Taking over, while the writer before still writes. */
const takingTriesMax = 200;
const settleTimeoutMs = 5_000;
/** Until every view has seen it and its event is told. */
const markTtl = `${limits.eventsRetentionMs / 1000}s`;

/** Header of the mark of a removal: what was removed, as JSON. */
export const removedHeader = "Aether-Removed";

/** Another writer took over: nothing that this one would write counts any more. */
export class Superseded extends Error {
  constructor(bucket: string) {
    super(`another instance writes ${bucket} now`);
    this.name = "Superseded";
  }
}

export interface Ledger {
  /** Sequence of the last write: a view that has reached it has seen everything there is. */
  readonly sequence: number;
  /** Stores the value of a key, one write after the other; answers its sequence. With `ttlMs` it goes by itself after that. */
  put(key: string, value: unknown, options?: { ttlMs: number }): Promise<number>;
  /** Removes a key; the mark that stays for some days says what was there. */
  remove<T>(key: string, removed: Entry<T>): Promise<number>;
  /** Settles when another writer took over. */
  readonly superseded: Promise<void>;
}

/** Takes a bucket over. */
export async function openLedger(bus: Bus, bucket: string): Promise<Ledger> {
  const stream = `KV_${bucket}`;
  const subject = (key: string) => `$KV.${bucket}.${key}`;
  const self = JSON.stringify({ writer: randomUUID() });
  const superseded = Promise.withResolvers<void>();
  let sequence = (await streamState(bus, stream)).lastSequence;
  let writing: Promise<unknown> = Promise.resolve();

  async function publish(key: string, { body, removed, ttlMs }: Written): Promise<number> {
    const head = headers();
    head.set("Nats-Expected-Last-Sequence", String(sequence));
    if (ttlMs !== undefined) head.set("Nats-TTL", `${Math.max(1, Math.ceil(ttlMs / 1000))}s`);
    if (removed !== undefined) {
      head.set("KV-Operation", "DEL");
      head.set("Nats-TTL", markTtl);
      head.set(removedHeader, toHeader(removed));
    }
    return (await bus.js.publish(subject(key), body, { headers: head, timeout: settleTimeoutMs })).seq;
  }

  /** What the key holds, and where the stream ends, as the stream says. */
  async function look(key: string): Promise<{ body: string; stored: number }> {
    const state = await streamState(bus, stream);
    const found = await lastMessage(bus, stream, subject(key));
    sequence = state.lastSequence;
    return { body: found ? new TextDecoder().decode(found.data) : "", stored: found?.sequence ?? 0 };
  }

  async function write(key: string, written: Written, taking: boolean): Promise<number> {
    for (let tries = 1; ; tries++) {
      try {
        sequence = await publish(key, written);
        return sequence;
      } catch (error) {
        if (tries >= (taking ? takingTriesMax : triesMax)) throw error;
        const before = sequence;
        const writer = await look(ledgerWriterKey);
        if (!taking && writer.body !== self) {
          superseded.resolve();
          throw new Superseded(bucket);
        }
        const found = await look(key);
        if (found.stored > before && found.body === written.body) return found.stored;
        if (!isWrongSequence(error) && !bus.connected) throw error;
      }
    }
  }

  const inTurn = (key: string, written: Written, taking = false): Promise<number> => {
    const done = writing.then(() => write(key, written, taking));
    writing = done.catch(() => {});
    return done;
  };
  await inTurn(ledgerWriterKey, { body: self }, true);
  return {
    get sequence() {
      return sequence;
    },
    put: (key, value, options) => inTurn(key, { body: JSON.stringify(value), ttlMs: options?.ttlMs }),
    remove: (key, removed) => inTurn(key, { body: "", removed }),
    superseded: superseded.promise,
  };
}

/** A value, or a removal of what was there. */
interface Written {
  body: string;
  removed?: unknown;
  ttlMs?: number | undefined;
}

/** JSON in ASCII: headers have no encoding. */
function toHeader(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
