// Bytes on their way out, chunk by chunk: what a reader does not ask for is not held for him.
import type { ChunkPlace, Objects } from "@aether/bus";
import type { StoredObject } from "./record.ts";

/** Reads the chunks of an object by their numbers; the one after the last read is found at once. */
export function createReader(
  objects: Objects,
  { object, first }: StoredObject,
): (index: number) => Promise<Uint8Array> {
  const start: ChunkPlace = { index: 0, sequence: first };
  let last = start;
  return async (index) => {
    const found = await objects.read(object, index, last.index <= index ? last : start);
    if (!found) throw new Error(`chunk ${index} of object ${object} is missing`);
    last = { index: found.index, sequence: found.sequence };
    return found.data;
  };
}

/** All of an object's bytes, the next chunk being read while the one before is used. */
export async function* readObject(objects: Objects, stored: StoredObject): AsyncGenerator<Uint8Array, void, void> {
  const read = createReader(objects, stored);
  let next = stored.chunks > 0 ? read(0) : null;
  for (let index = 1; next !== null; index++) {
    const data = await next;
    next = index < stored.chunks ? read(index) : null;
    next?.catch(() => {}); // met when it is waited for
    yield data;
  }
}
