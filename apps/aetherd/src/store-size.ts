// How much of the disk the stores of the bus may take, reserved. It is chosen once and kept: the stores share it out among
// themselves, and what they may hold must not shrink because the disk has filled with what they hold.
import { readFileSync, statfsSync, writeFileSync } from "node:fs";
import type { Layout } from "@aether/contracts";

const MIB = 1024 * 1024;
const mostBytes = 64 * 1024 * MIB;
const leastBytes = 256 * MIB;
const shareOfFree = 0.25;

/** The bytes to reserve: what is configured, else what was chosen before, else a share of what is free now. */
export function chooseStoreBytes(layout: Layout, configured: number | null): number {
  const file = `${layout.dataDir}/store-bytes`;
  const chosen = configured ?? readChosen(file) ?? Math.min(mostBytes, Math.floor(freeBytes(layout) * shareOfFree));
  if (chosen < leastBytes) {
    throw new Error(
      `the stores need ${leastBytes / MIB} MiB and may take ${Math.floor(chosen / MIB)} MiB, a quarter of what is free under ${layout.dataDir}; free some space or choose another folder with --home`,
    );
  }
  writeFileSync(file, `${chosen}\n`, { mode: 0o644 });
  return chosen;
}

/** What an ordinary user may still write where the data lies. */
function freeBytes(layout: Layout): number {
  const stats = statfsSync(layout.dataDir);
  return stats.bavail * stats.bsize;
}

function readChosen(file: string): number | null {
  try {
    const bytes = Number(readFileSync(file, "utf8"));
    return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : null;
  } catch {
    // The first start.
    return null;
  }
}
