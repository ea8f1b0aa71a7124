// Bytes that this service reads itself, chunk by chunk: what is not asked for is not held.
import type { ChunkPlace, Objects } from "@aether/bus";
import type { StoredObject } from "./record.ts";

/** All of an object's bytes, the next chunk being read while the one before is used. */
export async function* readObject(
  objects: Objects,
  { object, first, chunks }: StoredObject,
): AsyncGenerator<Uint8Array, void, void> {
  let known: ChunkPlace = { index: 0, sequence: first };
  const read = async (index: number) => {
    const found = await objects.read(object, index, known);
    if (!found) throw new Error(`chunk ${index} of object ${object} is missing`);
    known = { index: found.index, sequence: found.sequence };
    return found.data;
  };
  let next = chunks > 0 ? read(0) : null;
  for (let index = 1; next !== null; index++) {
    const data = await next;
    next = index < chunks ? read(index) : null;
    next?.catch(() => {}); // met when it is waited for
    yield data;
  }
}
