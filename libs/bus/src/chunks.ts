// Bytes in chunks of one size, a few of them under way at a time: how whoever sends or reads a transfer keeps it moving
// without ever holding much of it.
import { limits } from "@aether/contracts";

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

/** Chunks from one number to another in order, a few of them asked for before they are needed. */
export async function* readAhead(read: (index: number) => Promise<Uint8Array>, first: number, last: number) {
  const ahead: Promise<Uint8Array>[] = [];
  for (let index = first, next = first; index <= last; index++) {
    for (; next <= last && ahead.length < limits.transferChunksInFlight; next++) {
      const asked = read(next);
      asked.catch(() => {}); // met when its turn comes
      ahead.push(asked);
    }
    yield { index, data: (await ahead.shift()) as Uint8Array };
  }
}
