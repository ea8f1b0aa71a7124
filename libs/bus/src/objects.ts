// Bytes as chunks of one size in a stream: an object is a subject, a chunk a message that says which one it is. An object
// is written once, in order, by one writer, and read by chunk; what makes it count is a record elsewhere. Reading is
// stateless and holds one chunk: a reader that dies or dawdles leaves nothing behind.
import { JetStreamApiError } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import type { Bus } from "./connection.ts";

export const chunkHeader = "Aether-Chunk";
const messageNotFound = 10037;
const storeTimeoutMs = 8_000;
const purgeTimeoutMs = 60_000;

/** Where a chunk is: its number, and the sequence of its message. */
export interface ChunkPlace {
  index: number;
  sequence: number;
}

export interface Objects {
  /** Stores the chunk behind those before it; answers its sequence when it is on disk. */
  append(object: string, index: number, data: Uint8Array): Promise<number>;
  /** The chunk, looked for from a known one before it on; null where it is not there. */
  read(object: string, index: number, known: ChunkPlace): Promise<(ChunkPlace & { data: Uint8Array }) | null>;
  /**
   * Has the server send a chunk to this subject: the one looked for, or one nearer to the known one, which is before it. What
   * is looked for behind the last is not there and says so.
   */
  send(object: string, index: number, known: ChunkPlace, to: string): void;
  purge(object: string): Promise<void>;
  /** Every object of which there is a chunk. */
  list(): Promise<string[]>;
  /** What the stream may hold. */
  maxBytes(): Promise<number>;
}

/** Opens the objects of a stream whose subjects are `<prefix>.<object>`; no request is made. */
export function openObjects(bus: Bus, stream: string, prefix: string): Objects {
  const subject = (object: string) => `${prefix}.${object}`;

  async function nextFrom(object: string, sequence: number) {
    const query = { seq: sequence, next_by_subj: subject(object) };
    const message = await bus.jsm.direct.getMessage(stream, query).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === messageNotFound) return null;
      throw error;
    });
    if (!message) return null;
    return { index: Number(message.header.get(chunkHeader)), sequence: message.seq, data: message.data };
  }

  return {
    async append(object, index, data) {
      const head = headers();
      head.set(chunkHeader, String(index));
      return (await bus.js.publish(subject(object), data, { headers: head, timeout: storeTimeoutMs })).seq;
    },
    async read(object, index, known) {
      // No chunk can be nearer than this, so what is found is never behind the wanted one; messages of other objects in
      // between are what one more look is for, and each look halves what is left where two are written at a time.
      for (let place = known; ; ) {
        const found = await nextFrom(object, place.sequence + index - place.index);
        if (!found || found.index > index) return null;
        if (found.index === index) return found;
        place = found;
      }
    },
    send(object, index, known, to) {
      const query = { seq: Math.max(1, known.sequence + index - known.index), next_by_subj: subject(object) };
      bus.nats.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(query), { reply: to });
    },
    async purge(object) {
      const request = JSON.stringify({ filter: subject(object) });
      const broken = Promise.withResolvers<never>();
      using _ = bus.onReconnect(() => broken.reject(new Error("the connection broke before the answer came")));
      const purged = bus.nats.request(`$JS.API.STREAM.PURGE.${stream}`, request, { timeout: purgeTimeoutMs });
      await Promise.race([purged, broken.promise]);
    },
    async list() {
      const info = await bus.jsm.streams.info(stream, { subjects_filter: `${prefix}.*` });
      return Object.keys(info.state.subjects ?? {}).map((name) => name.slice(prefix.length + 1));
    },
    maxBytes: async () => (await bus.jsm.streams.info(stream)).config.max_bytes,
  };
}
