// Idempotency keys: a record under the hash of (principal, operation, key) is created before the act, with the body's digest
// and the id to come. A retry finds it: with another body it is refused, with the same body it gets the first answer, or,
// where the first try ended before its answer was kept, does the act again under the same id.
import { createHash } from "node:crypto";
import { createId, limits, type Operation, ProblemError } from "@aether/contracts";
import { z } from "zod";
import { type Bucket, openBucket, RevisionConflict } from "./bucket.ts";
import type { Bus } from "./connection.ts";

const KeyRecord = z.object({
  digest: z.string(),
  created_id: z.string().nullable(),
  answer: z.unknown().nullable(),
});
type KeyRecord = z.infer<typeof KeyRecord>;

/** What `serve` knows of a key before it runs the handler. */
interface Claimed {
  createdId: string | null;
  /** Whether this very try claimed it. */
  isNew: boolean;
  /** The first answer, when it was kept. */
  answer: unknown;
  /** Keeps the answer of a handler that succeeded. */
  keep(answer: unknown): Promise<void>;
  /** Gives the key back when this very try claimed it and was refused: a corrected request may use it. */
  release(): Promise<void>;
}

export interface Idempotency {
  claim(
    principal: string,
    operation: string,
    key: string,
    body: Uint8Array,
    creates: Operation["creates"],
  ): Promise<Claimed>;
}

/** Opens the store of keys (KV `idempotency`; its entries expire after 24 h). */
export function openIdempotency(bus: Bus): Idempotency {
  const bucket: Bucket<KeyRecord> = openBucket(bus, "idempotency", KeyRecord);
  return {
    async claim(principal, operation, key, body, creates) {
      const name = createHash("sha256").update(`${principal}\n${operation}\n${key}`).digest("hex");
      const record: KeyRecord = {
        digest: createHash("sha256").update(body).digest("hex"),
        created_id: creates ? createId(creates) : null,
        answer: null,
      };
      const entry = await createOrGet(bucket, name, record);
      if (entry.value.digest !== record.digest) {
        throw new ProblemError("idempotency-conflict", {
          detail: `kept for ${limits.idempotencyKeepMs / 3_600_000} hours`,
        });
      }
      return {
        createdId: entry.value.created_id,
        isNew: entry.isNew,
        answer: entry.value.answer,
        async keep(answer) {
          try {
            await bucket.update(name, { ...entry.value, answer }, entry.revision);
          } catch (error) {
            // A second try of the same request kept its answer first: it is the same act, under the same id.
            if (!(error instanceof RevisionConflict)) throw error;
          }
        },
        async release() {
          if (entry.isNew) await bucket.remove(name, entry.revision);
        },
      };
    },
  };
}

async function createOrGet(bucket: Bucket<KeyRecord>, name: string, record: KeyRecord) {
  try {
    return { value: record, revision: await bucket.create(name, record), isNew: true };
  } catch (error) {
    if (!(error instanceof RevisionConflict)) throw error;
    const found = await bucket.get(name);
    if (!found) throw new ProblemError("conflict", { detail: "the Idempotency-Key expired just now" });
    return { ...found, isNew: false };
  }
}
