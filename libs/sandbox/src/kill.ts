// Ending a whole group of processes by its cgroup, and knowing when it is empty. Used by the driver for one sandbox and by
// the warden for a whole incarnation; it imports nothing else, so that the warden stays small.
import { type Dirent, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** SIGKILLs every process in the group and below it; false when the group does not exist. */
export function killGroup(group: string): boolean {
  try {
    writeFileSync(join(group, "cgroup.kill"), "1", { flag: "r+" });
    return true;
  } catch (error) {
    if (!isMissing(error) && !isRefused(error)) throw error;
  }
  return killProcesses(group);
}

/** The same for kernels before 5.14, which have no `cgroup.kill`: one pass, to be repeated until the group is empty. */
export function killProcesses(group: string): boolean {
  const processes = listProcesses(group);
  for (const pid of processes ?? []) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
  return processes !== null;
}

/** Whether no process is left in the group or below it; a group that does not exist is empty. */
export function isGroupEmpty(group: string): boolean {
  try {
    return readFileSync(join(group, "cgroup.events"), "utf8").includes("populated 0");
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  // The hierarchies of cgroup v1 have no cgroup.events.
  return (listProcesses(group) ?? []).length === 0;
}

/** Kills again and again until the group is empty; false when it is not after `timeoutMs`. */
export async function emptyGroup(group: string, timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  for (let pauseMs = 1; !isGroupEmpty(group); pauseMs = Math.min(20, pauseMs * 2)) {
    if (performance.now() > end) return false;
    killGroup(group);
    await delay(pauseMs);
  }
  return true;
}

function listProcesses(group: string): number[] | null {
  try {
    const own = readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
    const below = listGroups(group).flatMap((name) => listProcesses(join(group, name)) ?? []);
    return [...own, ...below];
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** The groups directly below this one. */
export function listGroups(group: string): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(group, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

// ENODEV: the group was removed while its file was open.
function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENODEV");
}

// EOPNOTSUPP: the group is threaded, where cgroup.kill is not allowed.
function isRefused(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "EOPNOTSUPP" || error.code === "ENOTSUP");
}
