// Bytes of an artifact on their way to memory, as many as were announced and no more.
import { type Bus, type ChunkQuery, readAhead, request, requestChunks } from "@aether/bus";
import { closeTransfer, limits } from "@aether/contracts";
import type { Asker } from "./source.ts";

export const toEnvelope = ({ requestId, traceparent }: Asker) => ({
  request_id: requestId,
  ...(traceparent !== undefined && { traceparent }),
});

/** All bytes of a download that was begun; it is closed in any case. */
export async function readTransfer(
  bus: Bus,
  transfer: string,
  sizeBytes: number,
  envelope: ReturnType<typeof toEnvelope>,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  try {
    const read = (query: ChunkQuery) => requestChunks(bus, transfer, query, { envelope });
    for await (const { data } of readAhead(read, 0, Math.ceil(sizeBytes / limits.chunkBytes) - 1)) chunks.push(data);
  } finally {
    await request(bus, closeTransfer, { transfer }, { envelope }).catch(() => {}); // it is given up when it is idle
  }
  const bytes = Buffer.concat(chunks);
  if (bytes.length !== sizeBytes) throw new Error("the chunks are not as long as they should be");
  return bytes;
}
