// What a sandbox needs of a control group, over both generations of cgroups, and how control files are read and written.
// cgroup1.ts and cgroup2.ts are the two implementations; cgroups.ts chooses between them.
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  rmdirSync,
  write,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { SandboxSpec, Usage } from "./driver.ts";
import { listGroups } from "./kill.ts";

/** A block device by its numbers. */
export interface Device {
  major: number;
  minor: number;
}

/** A device to throttle. Reads of the host's disk get some slack, since those of the sandbox's own disk pass it as well. */
export interface ThrottledDevice {
  device: Device;
  readFactor: number;
  /** Never for the host's disk: a throttled write holds its file system's journal, and with it the host. */
  writes: boolean;
}
export type ThrottledDevices = readonly ThrottledDevice[];

/** What a group's tree used; the io of its disk is counted at the disk. */
export type GroupUsage = Omit<Usage, "ioReadBytes" | "ioWriteBytes">;

/** How one group's limits hold. */
interface GroupEnforced {
  memory: string;
  cpus: string;
  pids: string;
  io: string;
}

/** The group of one sandbox. */
export interface Group {
  readonly enforced: GroupEnforced;
  /** The folder by which the whole tree is killed and its emptiness is read. */
  readonly path: string;
  /** Moves a process, before it has children, into the group. */
  join(pid: number): Promise<void>;
  /** Complete once the group is empty. */
  usage(): GroupUsage;
  /** Removes the empty group. */
  remove(): Promise<void>;
}

/** The groups of one incarnation. */
export interface Groups {
  readonly kind: "cgroup1" | "cgroup2";
  /** The incarnation's own folder, for the warden. */
  readonly path: string;
  create(id: string, limits: SandboxSpec["limits"], devices: ThrottledDevices): Group;
  /** Removes the incarnation's empty groups. */
  remove(): Promise<void>;
}

/** Where the hierarchies of this host lie. */
export interface CgroupMounts {
  /** The controllers of cgroup v1, each with its mount point. */
  v1: ReadonlyMap<string, string>;
  /** The cgroup2 hierarchy; on a hybrid host it has no controllers but can kill. */
  v2: string | null;
}

/** Names one incarnation of one instance. */
export interface GroupName {
  instance: string;
  incarnation: string;
}

/** Removes an empty group; a zombie not yet reaped keeps it for a moment. */
export async function removeGroup(path: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      rmdirSync(path);
      return;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : null;
      if (code === "ENOENT") return;
      if (code !== "EBUSY" || attempt === 500) throw error;
    }
    await delay(attempt < 20 ? 1 : 10);
  }
}

/** Removes the folder, which may be an instance's last, unless something else still lives in it. */
export function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Another incarnation uses it, or it is gone.
  }
}

/** Removes a group with all its empty subgroups. */
export async function removeGroupTree(path: string): Promise<void> {
  if (!existsSync(path)) return;
  for (const name of listGroups(path)) await removeGroupTree(join(path, name));
  await removeGroup(path);
}

const writeAsync = promisify(write);

/**
 * Moves a process into groups. The first move may wait several milliseconds for the kernel, therefore not on the main
 * thread; those that follow at once do not.
 */
export async function joinGroups(groups: readonly string[], pid: number): Promise<void> {
  const [first, ...others] = groups.map((group) => join(group, "cgroup.procs"));
  if (first === undefined) return;
  const fd = openSync(first, "r+");
  try {
    await writeAsync(fd, String(pid));
  } finally {
    closeSync(fd);
  }
  for (const file of others) writeFileSync(file, String(pid), { flag: "r+" });
}

/** Writes one control file. */
export function writeControl(group: string, file: string, value: string | number): void {
  // "r+": a control file exists or the kernel lacks it; it is never created.
  writeFileSync(join(group, file), String(value), { flag: "r+" });
}

/** Reads a control file that holds one number; 0 where the kernel lacks it. */
export function readNumber(group: string, file: string): number {
  const text = readControl(group, file);
  return text === null ? 0 : Number(text);
}

/** Reads `key value` from a flat-keyed control file; 0 where either is missing. */
export function readKeyed(group: string, file: string, key: string): number {
  const line = readControl(group, file)
    ?.split("\n")
    .find((text) => text.startsWith(`${key} `));
  return line ? Number(line.slice(key.length + 1)) : 0;
}

/** Reads a control file; null where the kernel lacks it. */
export function readControl(group: string, file: string): string | null {
  try {
    // "utf8" is read in one call, any other encoding in several.
    return readFileSync(join(group, file), "utf8").trim();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

/** Whether this process may write there. */
export function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
