// An embedder without a model: a text is the counts of its letter triples, hashed into a fixed number of places. Texts that
// are spelled alike are near each other, also with a slip of the pen, where no word is the same.
import { createHash } from "node:crypto";
import type { Embedder } from "../src/index.ts";

const dims = 256;

export function createTripleEmbedder(): Embedder & { fails: boolean; asked: number } {
  const embedder = {
    ...{ model: "triples-256", dims, fails: false, asked: 0 },
    async embed(texts: readonly string[]): Promise<Float32Array[]> {
      embedder.asked += texts.length;
      if (embedder.fails) throw new Error("no embedder today");
      return texts.map(toVector);
    },
  };
  return embedder;
}

function toVector(text: string): Float32Array {
  const vector = new Float32Array(dims);
  const letters = ` ${text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, " ")} `;
  for (let at = 0; at + 3 <= letters.length; at++) {
    const hash = createHash("md5")
      .update(letters.slice(at, at + 3))
      .digest();
    const place = hash.readUInt32LE(0) % dims;
    vector[place] = (vector[place] ?? 0) + ((hash[4] ?? 0) % 2 === 0 ? 1 : -1);
  }
  return vector;
}
