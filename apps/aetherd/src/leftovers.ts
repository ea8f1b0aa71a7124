// Processes of this layout whose daemon was killed. Every process that a daemon starts carries the layout's run folder in its
// environment, so they are found whatever became of the daemon and whenever; only the holder of the lock may look.
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** The variable that marks a daemon's processes. */
export const markVariable = "AETHER_DAEMON_RUN_DIR";
const endLimitMs = 5_000;
const pollMs = 5;

/** Kills what an earlier daemon of this run folder left behind and waits until it is gone; answers how many there were. */
export async function endLeftovers(runDir: string): Promise<number> {
  const found = findMarked(runDir);
  for (const pid of found) kill(pid);
  const limit = performance.now() + endLimitMs;
  for (let left = found; left.length > 0; left = findMarked(runDir)) {
    if (performance.now() > limit) {
      throw new Error(`processes ${left.join(", ")} of an earlier aetherd do not end although they were killed`);
    }
    await delay(pollMs);
  }
  return found.length;
}

/** Living processes that carry this run folder's mark, this one left out. */
export function findMarked(runDir: string): number[] {
  const mark = `\0${markVariable}=${runDir}\0`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => `\0${readEnvironment(pid)}`.includes(mark));
}

function readEnvironment(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    // Ended meanwhile, or somebody else's.
    return "";
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
