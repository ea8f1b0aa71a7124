// Bytes of an artifact on their way to memory, as many as were announced and no more.
import { type Bus, request } from "@aether/bus";
import { closeTransfer, readChunk } from "@aether/contracts";
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
    for (let left = sizeBytes; left > 0; left -= chunks.at(-1)?.length ?? 0) {
      const { bytes } = await request(bus, readChunk, { transfer, index: chunks.length }, { envelope });
      if (bytes.length === 0 || bytes.length > left) throw new Error("a chunk is not as long as it should be");
      chunks.push(bytes);
    }
  } finally {
    await request(bus, closeTransfer, { transfer }, { envelope }).catch(() => {}); // it is given up when it is idle
  }
  return Buffer.concat(chunks, sizeBytes);
}
