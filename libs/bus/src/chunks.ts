// Bytes in chunks of one size, a few of them under way at a time: how whoever sends or reads a transfer keeps it moving
// without ever holding much of it.
import { limits } from "@aether/contracts";
import type { Chunk, ChunkQuery } from "./delivery.ts";
import type { ChunkPlace } from "./objects.ts";

/** Sends all parts on in whole chunks, the last one smaller; rejects when one was not taken. */
export async function sendInChunks(
  parts: AsyncIterable<Uint8Array>,
  send: (index: number, bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const pending: Promise<void>[] = [];
  let chunk = Buffer.allocUnsafe(limits.chunkBytes);
  let length = 0;
  let index = 0;
  const flush = async () => {
    const sent = send(index++, chunk.subarray(0, length));
    sent.catch(() => {}); // met when its turn comes
    pending.push(sent);
    chunk = Buffer.allocUnsafe(limits.chunkBytes);
    length = 0;
    if (pending.length >= limits.transferChunksInFlight) await pending.shift();
  };
  for await (const part of parts) {
    for (let from = 0; from < part.length; ) {
      const taken = Math.min(part.length - from, chunk.length - length);
      chunk.set(part.subarray(from, from + taken), length);
      from += taken;
      length += taken;
      if (length === chunk.length) await flush();
    }
  }
  if (length > 0) await flush();
  await Promise.all(pending);
}

/** Chunks from one number to another in order; the next few are asked for while those before are used. */
export async function* readAhead(
  read: (query: ChunkQuery) => Promise<Chunk[]>,
  first: number,
  last: number,
): AsyncGenerator<Chunk, void, void> {
  const ask = (index: number, known?: ChunkPlace) => {
    if (index > last) return null;
    const asked = read({
      ...{ index, count: Math.min(limits.transferChunksInFlight, last - index + 1) },
      ...(known && { known: { index: known.index, sequence: known.sequence } }),
    });
    asked.catch(() => {}); // met when its turn comes
    return asked;
  };
  let wanted = first;
  for (let asked = ask(first); asked !== null; ) {
    const chunks = await asked;
    const known = chunks.at(-1);
    if (!known) throw new Error("no chunk came");
    asked = ask(Math.max(first, known.index + 1), known);
    for (const chunk of chunks) {
      if (chunk.index < first) continue; // on the way to the first
      if (chunk.index !== wanted++) throw new Error(`chunk ${wanted - 1} is missing`);
      yield chunk;
    }
  }
}
