// The bytes of an attempt, from and to the artifacts service: chunk by chunk, under the attempt's secret.
import { createHash } from "node:crypto";
import { type Bus, type ChunkQuery, readAhead, request, requestChunks, sendInChunks } from "@aether/bus";
import {
  type Artifact,
  type Claim,
  closeTransfer,
  commitUpload,
  createId,
  giveOutput,
  limits,
  sendChunk,
  takeInput,
} from "@aether/contracts";

export interface Transfers {
  /** An input's record, and its bytes as they are asked for. */
  take(claim: Claim, id: string): Promise<{ artifact: Artifact; bytes: AsyncGenerator<Uint8Array, void, void> }>;
  /** Stores an output; nothing of it stays unless all of it came, and it is one artifact however often it is given. */
  give(
    claim: Claim,
    output: { path: string; name: string; type: string; size_bytes: number },
    bytes: AsyncIterable<Uint8Array>,
  ): Promise<Artifact>;
}

export function createTransfers(bus: Bus): Transfers {
  const envelope = () => ({ envelope: { request_id: createId("req") } });
  const close = (transfer: string) => {
    request(bus, closeTransfer, { transfer }, envelope()).catch(() => {}); // given up there by itself, only later
  };
  return {
    async take({ job_id, attempt, secret }, id) {
      const { transfer, artifact } = (await request(bus, takeInput, { job_id, attempt, secret, id }, envelope())).reply;
      const read = (query: ChunkQuery) => requestChunks(bus, transfer, query, envelope());
      async function* bytes() {
        try {
          const last = Math.ceil(artifact.size_bytes / limits.chunkBytes) - 1;
          for await (const { data } of readAhead(read, 0, last)) yield data;
        } finally {
          close(transfer);
        }
      }
      return { artifact, bytes: bytes() };
    },
    async give({ job_id, attempt, secret }, { path, ...output }, bytes) {
      const idempotency_key = `${job_id}.${attempt}.${createHash("sha256").update(path).digest("hex")}`;
      const keyed = { envelope: { ...envelope().envelope, idempotency_key } };
      const { reply } = await request(bus, giveOutput, { job_id, attempt, secret, ...output }, keyed);
      const { transfer } = reply;
      try {
        await sendInChunks(bytes, async (index, chunk) => {
          await request(bus, sendChunk, { transfer, index }, { ...envelope(), bytes: chunk });
        });
      } catch (error) {
        close(transfer);
        throw error;
      }
      return (await request(bus, commitUpload, { transfer }, envelope())).reply;
    },
  };
}
