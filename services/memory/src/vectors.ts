// Nearness in meaning, where somebody gives an embedder: a vector for each passage, kept in the view beside it, made in the
// background; a question's nearest by comparing it with all of them. Whatever fails here, the search goes on by words and
// says so.
import { createHash } from "node:crypto";
import type { Logger } from "@aether/telemetry";
import type { SqlValue } from "./reader.ts";
import type { Filter } from "./search.ts";
import type { Shelf } from "./shelves.ts";

/** Makes vectors of texts; equal models make comparable ones. */
export interface Embedder {
  readonly model: string;
  readonly dims: number;
  /** One vector for each text, of any length: they are brought to length one here. */
  embed(texts: readonly string[], kind: "document" | "query"): Promise<readonly Float32Array[]>;
}

export interface Vectors {
  /** Begins to make what this shelf lacks; a fill that is going on goes on. */
  fill(shelf: Shelf): void;
  /** Rows of the passages that are nearest to a question, the nearest first; null where that cannot be said. */
  near(shelf: Shelf, question: string, filter: Filter): Promise<readonly number[] | null>;
}

const atOnce = 32;
const nearestMax = 200;
const questionMs = 2_000;

export function createVectors(embedder: Embedder, log: Logger): Vectors {
  const filling = new WeakSet<Shelf>();
  return {
    fill(shelf) {
      if (filling.has(shelf)) return;
      filling.add(shelf);
      void fillAll(shelf, embedder)
        .catch((error: unknown) => log.warn({ err: error }, "passages have no vectors yet"))
        .finally(() => filling.delete(shelf));
    },
    async near(shelf, question, filter) {
      try {
        const [vector] = await withinTime(makeVectors(embedder, [question], "query"));
        const rows = await shelf.read(
          `SELECT v.row, similarity(v.data, ?) AS nearness FROM vector v
           CROSS JOIN passage p ON p.row = v.row CROSS JOIN entry e ON e.id = p.id
           WHERE v.model = ? AND ${filter.where.join(" AND ")} ORDER BY nearness DESC LIMIT ${nearestMax}`,
          ...[toBytes(vector as Float32Array), embedder.model, ...(filter.values as SqlValue[])],
        );
        return rows.map(({ row }) => Number(row));
      } catch (error) {
        log.warn({ err: error }, "a search went by words alone");
        return null;
      }
    },
  };
}

async function fillAll(shelf: Shelf, embedder: Embedder): Promise<void> {
  for (let after = 0; ; ) {
    const lacking = shelf.queries.withoutVector(embedder.model, after, atOnce);
    if (lacking.length === 0) return;
    const vectors = await makeVectors(
      embedder,
      lacking.map(({ text }) => text),
      "document",
    );
    for (const [i, { row, text }] of lacking.entries()) {
      const digest = createHash("sha256").update(text).digest("hex");
      shelf.queries.putVector({ row, model: embedder.model, digest, data: toBytes(vectors[i] as Float32Array) });
      after = row;
    }
  }
}

/** Vectors of length one, so that their product is the cosine; throws where they are not what was promised. */
async function makeVectors(
  embedder: Embedder,
  texts: readonly string[],
  kind: "document" | "query",
): Promise<Float32Array[]> {
  const vectors = await embedder.embed(texts, kind);
  if (vectors.length !== texts.length)
    throw new Error(`${embedder.model} made ${vectors.length} of ${texts.length} vectors`);
  return vectors.map((vector) => {
    const length = Math.hypot(...vector);
    if (vector.length !== embedder.dims || !(length > 0 && length < Number.POSITIVE_INFINITY)) {
      throw new Error(`${embedder.model} made no vector of ${embedder.dims} numbers`);
    }
    return vector.map((value) => value / length);
  });
}

async function withinTime<T>(made: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no vector within ${questionMs} ms`)), questionMs);
  try {
    return await Promise.race([made, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

const toBytes = ({ buffer, byteOffset, byteLength }: Float32Array) =>
  new Uint8Array(buffer, byteOffset, byteLength).slice();
