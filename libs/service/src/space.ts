// Free space of the store's disk, looked at once a second at most: below the floor nothing new is taken in.
import { statfs } from "node:fs/promises";
import { ProblemError } from "@aether/contracts";

const checkMs = 1000;

export interface SpaceWatch {
  /** Throws `storage-full` while less than the floor is free. */
  require(): Promise<void>;
  /** The same as words for the health of a service; empty where all is well. */
  degraded(): Promise<string[]>;
}

/** Watches the disk of a folder; without one there is always room. */
export function watchSpace(folder: string | null, floorBytes: number): SpaceWatch {
  let lookedAt = Number.NEGATIVE_INFINITY;
  let freeBytes = Number.POSITIVE_INFINITY;
  async function isFull(): Promise<boolean> {
    if (folder !== null && performance.now() - lookedAt > checkMs) {
      lookedAt = performance.now();
      const stats = await statfs(folder);
      freeBytes = stats.bavail * stats.bsize;
    }
    return freeBytes < floorBytes;
  }
  return {
    async require() {
      if (await isFull())
        throw new ProblemError("storage-full", {
          detail: `less than ${floorBytes} bytes are free`,
          retry_after_ms: 5000,
        });
    },
    degraded: async () =>
      (await isFull()) ? ["the store is below its floor of free space: nothing new is taken in"] : [],
  };
}
