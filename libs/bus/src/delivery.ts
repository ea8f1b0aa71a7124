// Chunks on their shortest way: who keeps them is asked, and has the store itself send them to a subject that this reader alone
// may subscribe to. They pass no other service. What does not come in time is not there: asking again does no harm.
import { randomBytes } from "node:crypto";
import { limits, ProblemError, readChunks } from "@aether/contracts";
import type { Msg } from "@nats-io/transport-node";
import type { Bus } from "./connection.ts";
import { type ChunkPlace, chunkHeader } from "./objects.ts";
import { type RequestOptions, request } from "./request.ts";
import { deliverySubject } from "./topology.ts";

export interface Chunk extends ChunkPlace {
  data: Uint8Array;
}

export interface ChunkQuery {
  /** The first that is wanted. */
  index: number;
  count: number;
  /** One before it, as near as is known. */
  known?: ChunkPlace;
}

/**
 * Answers chunks of a download in order: those that are wanted where they were stored one after the other, else at least one
 * behind the known one, from which the next can be asked for.
 */
export async function requestChunks(
  bus: Bus,
  transfer: string,
  query: ChunkQuery,
  { envelope }: Pick<RequestOptions, "envelope">,
): Promise<Chunk[]> {
  const to = randomBytes(16).toString("hex");
  const chunks = new Map<number, Chunk>();
  const { promise: came, resolve, reject } = Promise.withResolvers<void>();
  came.catch(() => {}); // met below, unless the request has failed before
  const late = setTimeout(() => reject(missing("they do not come")), limits.transferReadMs);
  let left = query.count;
  const subscription = bus.nats.subscribe(deliverySubject(bus.user, to), {
    callback(error, message) {
      const chunk = error ? null : toChunk(message);
      if (!chunk) return reject(missing("one is not there", error));
      chunks.set(chunk.index, chunk);
      late.refresh();
      if (--left === 0) resolve();
    },
  });
  try {
    await request(bus, readChunks, { transfer, ...query, to }, { envelope });
    await came;
  } finally {
    clearTimeout(late);
    subscription.unsubscribe();
  }
  return [...chunks.values()].sort((one, other) => one.index - other.index);
}

function toChunk({ headers, data }: Msg): Chunk | null {
  const [index, sequence] = [headers?.get(chunkHeader), headers?.get("Nats-Sequence")];
  return index && sequence ? { index: Number(index), sequence: Number(sequence), data } : null;
}

function missing(why: string, cause?: unknown): ProblemError {
  return new ProblemError("unavailable", { detail: `chunks: ${why}`, retry_after_ms: 1000 }, { cause });
}
