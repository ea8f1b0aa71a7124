// The disks of sandboxes: a quota that is a file system, never a count. Each is a sparse image of exactly the size asked
// for, formatted as ext4 and mounted through a loop device; as formatting and mounting cost some 25 ms, a few of the
// default size are kept ready and used again.
//
// A disk goes back to the pool only when its tree is empty and its folders could be removed and made anew; whatever
// grew, holds many files, or resists is unmounted and its image deleted instead. Mount points lie under /run, because the
// job's uid must be able to pass through their parents; the images lie in the state folder, which only root may enter.
//
//   <stateDir>/disks/<incarnation>/<n>.img    0600 root
//   <stateDir>/kept/<name>.<place>.img        0600 root: a resident's, which outlives its sandboxes (kept-disk.ts)
//   <mountDir>/<n>/workspace, outputs         0700, the job's uid
//   <mountDir>/<n>/inputs                     0755, root: the job may read it
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  statfsSync,
  statSync,
} from "node:fs";
import { open, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { runTool, diskTool as tool } from "./disk-tool.ts";
import { NoRoom } from "./driver.ts";
import type { Device } from "./group.ts";
import { requireKept } from "./kept-disk.ts";
import { makePassable } from "./places.ts";

const MIB = 1024 * 1024;
const SECTOR_BYTES = 512;
/** What stays free on the store whatever all disks together may still take. */
const FLOOR_BYTES = 512 * MIB;
/** Above these a used disk is thrown away, which costs the same however much is on it. */
const RECYCLE_MAX_FILES = 256;
const RECYCLE_MAX_BYTES = 32 * MIB;
const MAX_READY = 32;
const UNMOUNT_ATTEMPTS = 20;
const folders = ["workspace", "outputs", "inputs"] as const;

/** One mounted disk, held by one sandbox. */
export interface Disk {
  readonly workspace: string;
  readonly outputs: string;
  /** Filled before the sandbox is built; read-only inside. */
  readonly inputs: string;
  readonly device: Device;
  /** What was read from and written to the device since the disk was acquired. */
  io(): { ioReadBytes: number; ioWriteBytes: number };
  /** Gives the disk back; only after every process that used it is gone. */
  release(): Promise<void>;
}

/** Disks of one incarnation; disposing unmounts and deletes those that are not held. */
export interface Disks extends AsyncDisposable {
  /** What the store could still hold if every disk in use were filled. */
  freeBytes(): number;
  acquire(sizeBytes: number, uid: number): Promise<Disk>;
  /** The disk in this image, made when it is missing; it is still there when it has been given back. */
  acquireKept(image: string, sizeBytes: number, uid: number): Promise<Disk>;
}

export interface DiskOptions {
  imageDir: string;
  mountDir: string;
  readyCount: number;
  readySizeBytes: number;
  log: (message: string, fields: Record<string, unknown>) => void;
}

/** An image that is formatted and mounted, with its folders empty. */
interface Mounted {
  image: string;
  mountPoint: string;
  sizeBytes: number;
  device: Device;
  freeFiles: number;
  freeBytes: number;
}

/** What a held disk may still take from the store. */
interface Lease {
  sizeBytes: number;
  disk: Mounted | null;
}

/** Begins to fill the pool in the background. */
export function startDisks(options: DiskOptions): Disks {
  mkdirSync(options.imageDir, { recursive: true, mode: 0o700 });
  makePassable(options.mountDir);
  const ready: Mounted[] = [];
  const held = new Set<Lease>();
  const background = new Set<Promise<void>>();
  let next = 1;
  let peakHeld = 0;
  let isClosed = false;

  const make = (sizeBytes: number): Promise<Mounted> => {
    const name = String(next++);
    return mountImage(join(options.imageDir, `${name}.img`), join(options.mountDir, name), sizeBytes);
  };
  const inBackground = (work: Promise<void>): void => {
    const settled: Promise<void> = work
      .catch((error: unknown) => options.log("disk pool", { error }))
      .finally(() => background.delete(settled));
    background.add(settled);
  };
  const fill = async (): Promise<void> => {
    while (!isClosed && ready.length < options.readyCount) ready.push(await make(options.readySizeBytes));
  };
  const giveBack = async (disk: Mounted): Promise<void> => {
    const isWanted = disk.sizeBytes === options.readySizeBytes && ready.length < Math.max(options.readyCount, peakHeld);
    const isClean = isWanted && !isClosed && (await clean(disk));
    if (isClean) ready.push(disk);
    else await discard(disk);
  };
  inBackground(fill());

  /** Counts a disk as held from before it is made until it was given back. */
  const lend = async (
    sizeBytes: number,
    uid: number,
    open: () => Promise<Mounted>,
    close: (disk: Mounted) => Promise<void>,
  ): Promise<Disk> => {
    const lease: Lease = { sizeBytes, disk: null };
    held.add(lease);
    peakHeld = Math.min(MAX_READY, Math.max(peakHeld, held.size));
    try {
      const disk = await open();
      lease.disk = disk;
      return handOut(disk, uid, () => close(disk).finally(() => held.delete(lease)));
    } catch (error) {
      held.delete(lease);
      throw error;
    }
  };
  return {
    freeBytes: () => Math.max(0, readRoom(options.imageDir, held).roomBytes),
    acquire: async (sizeBytes, uid) => {
      assertRoom(options.imageDir, sizeBytes, held);
      const take = async () =>
        (sizeBytes === options.readySizeBytes ? ready.pop() : undefined) ?? (await make(sizeBytes));
      return lend(sizeBytes, uid, take, giveBack);
    },
    acquireKept: async (image, sizeBytes, uid) => {
      assertRoom(options.imageDir, sizeBytes - allocatedBytes(image), held);
      const open = () => mountKept(image, join(options.mountDir, String(next++)), sizeBytes);
      return lend(sizeBytes, uid, open, ({ mountPoint }) => detach(mountPoint));
    },
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      await Promise.all(background);
      await Promise.all(ready.splice(0).map(discard));
      if (held.size > 0) return;
      await rm(options.imageDir, { recursive: true, force: true });
      rmdirSync(options.mountDir);
    },
  };
}

function handOut(disk: Mounted, uid: number, release: () => Promise<void>): Disk {
  const [workspace, outputs, inputs] = folders.map((name) => join(disk.mountPoint, name)) as [string, string, string];
  for (const folder of [workspace, outputs]) chownSync(folder, uid, uid);
  chmodSync(inputs, 0o755);
  const before = readIo(disk.device);
  return {
    workspace,
    outputs,
    inputs,
    device: disk.device,
    io: () => {
      const now = readIo(disk.device);
      return {
        ioReadBytes: now.readBytes - before.readBytes,
        ioWriteBytes: now.writeBytes - before.writeBytes,
      };
    },
    release,
  };
}

/** Refuses what the store could not hold if every held disk were filled. */
function assertRoom(imageDir: string, sizeBytes: number, held: ReadonlySet<Lease>): void {
  const { roomBytes, freeBytes, promisedBytes } = readRoom(imageDir, held);
  if (sizeBytes <= roomBytes) return;
  const cause = `There is no room for a disk of ${sizeBytes} bytes: ${freeBytes} are free, ${promisedBytes} are promised.`;
  throw new NoRoom([{ cause, mend: `Free space under ${imageDir}, or ask for a smaller disk.` }]);
}

function readRoom(imageDir: string, held: ReadonlySet<Lease>) {
  const store = statfsSync(imageDir);
  const freeBytes = store.bavail * store.bsize;
  let promisedBytes = 0;
  for (const { sizeBytes: promised, disk } of held) {
    promisedBytes += Math.max(0, promised - (disk ? allocatedBytes(disk.image) : 0));
  }
  return { roomBytes: freeBytes - promisedBytes - FLOOR_BYTES, freeBytes, promisedBytes };
}

async function mountImage(image: string, mountPoint: string, sizeBytes: number): Promise<Mounted> {
  try {
    // No journal: nothing on this disk outlives its sandbox.
    await formatImage(image, sizeBytes, ["-O", "^has_journal"]);
    await attach(image, mountPoint);
    for (const name of folders) mkdirSync(join(mountPoint, name), { mode: 0o700 });
    return describe(image, mountPoint, sizeBytes);
  } catch (error) {
    await discard({ image, mountPoint });
    throw error;
  }
}

/** The folders but the first are new each time, as on every disk. */
async function mountKept(image: string, mountPoint: string, sizeBytes: number): Promise<Mounted> {
  const [kept, ...passing] = folders;
  try {
    await requireKept(image, sizeBytes, (path) => formatImage(path, sizeBytes, []));
    await attach(image, mountPoint);
    mkdirSync(join(mountPoint, kept), { recursive: true, mode: 0o700 });
    for (const name of passing) {
      const folder = join(mountPoint, name);
      if (existsSync(folder)) await renew(folder);
      else mkdirSync(folder, { mode: 0o700 });
    }
    return describe(image, mountPoint, sizeBytes);
  } catch (error) {
    await detach(mountPoint);
    throw error;
  }
}

async function formatImage(image: string, sizeBytes: number, features: string[]): Promise<void> {
  const file = await open(image, "wx", 0o600);
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
  // Inode tables of a sparse file are zero already.
  const format = ["-q", "-F", "-m", "0", ...features, "-E", "lazy_itable_init=1,nodiscard", image];
  await tool("mkfs.ext4", format, "Run: apt-get install e2fsprogs");
}

async function attach(image: string, mountPoint: string): Promise<void> {
  mkdirSync(mountPoint);
  const mount = ["-t", "ext4", "-o", "loop,nodev,nosuid,noatime,discard,noinit_itable", image, mountPoint];
  await tool("mount", mount, "Give this machine loop devices: modprobe loop.");
}

/** Unmounts the disk, if it is mounted. */
async function detach(mountPoint: string): Promise<void> {
  if (isMountPoint(mountPoint)) await unmount(mountPoint);
  removeFolder(mountPoint);
}

function describe(image: string, mountPoint: string, sizeBytes: number): Mounted {
  const free = statfsSync(mountPoint);
  return {
    ...{ image, mountPoint, sizeBytes, device: deviceOf(mountPoint) },
    ...{ freeFiles: free.ffree, freeBytes: free.bfree * free.bsize },
  };
}

/** Empties the disk; false when it is not worth it or not certain. */
async function clean(disk: Mounted): Promise<boolean> {
  try {
    const now = statfsSync(disk.mountPoint);
    const usedBytes = Math.max(disk.freeBytes - now.bfree * now.bsize, allocatedBytes(disk.image));
    if (disk.freeFiles - now.ffree > RECYCLE_MAX_FILES || usedBytes > RECYCLE_MAX_BYTES) return false;
    for (const name of folders) await renew(join(disk.mountPoint, name));
    return true;
  } catch {
    // Whatever the job did to it, the image can always be thrown away.
    return false;
  }
}

/** A new folder rather than an emptied one: it carries no attribute or access list of the job before. */
async function renew(folder: string): Promise<void> {
  try {
    rmdirSync(folder);
  } catch {
    // It has content; rm does not follow links, and nothing runs that could change the tree meanwhile.
    await rm(folder, { recursive: true });
  }
  mkdirSync(folder, { mode: 0o700 });
}

/** Unmounts the disk, if it is mounted, and deletes its image. */
export async function discard(disk: { image: string; mountPoint: string }): Promise<void> {
  await detach(disk.mountPoint);
  await unlink(disk.image).catch(ignoreMissing);
}

/** The mount namespace of a sandbox that just ended may hold the mount for another moment. */
async function unmount(mountPoint: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await runTool("umount", [mountPoint]);
      return;
    } catch (error) {
      if (attempt === UNMOUNT_ATTEMPTS) throw error;
    }
    await delay(attempt * 10);
  }
}

function removeFolder(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    ignoreMissing(error);
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
}

function isMountPoint(path: string): boolean {
  try {
    return lstatSync(path).dev !== lstatSync(join(path, "..")).dev;
  } catch (error) {
    ignoreMissing(error);
    return false;
  }
}

/** What an image takes of the store; nothing when it was just deleted. */
function allocatedBytes(image: string): number {
  return (statSync(image, { throwIfNoEntry: false })?.blocks ?? 0) * SECTOR_BYTES;
}

/** The block device that holds `path`. */
export function deviceOf(path: string): Device {
  const { dev } = statSync(path);
  return { major: (dev >> 8) & 0xfff, minor: (dev & 0xff) | ((dev >> 12) & 0xfff00) };
}

function readIo({ major, minor }: Device): { readBytes: number; writeBytes: number } {
  const fields = readFileSync(`/sys/dev/block/${major}:${minor}/stat`, "utf8").trim().split(/\s+/).map(Number);
  return { readBytes: (fields[2] ?? 0) * SECTOR_BYTES, writeBytes: (fields[6] ?? 0) * SECTOR_BYTES };
}
