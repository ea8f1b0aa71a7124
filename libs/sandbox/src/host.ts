// What this host offers a sandbox, opened once: bwrap and what it can do, the cgroups, the filter, the disks. Each part that
// is missing is a problem with its mend; all of them are reported at once, so that one look is enough to mend them.
import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, realpathSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { type BwrapFeatures, parseFeatures } from "./arguments.ts";
import { startGroups } from "./cgroups.ts";
import { type Disks, deviceOf, startDisks } from "./disk.ts";
import { type Problem, SandboxUnavailable } from "./driver.ts";
import { type Device, type Groups, removeIfEmpty, type ThrottledDevice } from "./group.ts";
import { openResidents, type Residents } from "./kept-disk.ts";
import { SETPRIV } from "./launch.ts";
import { incarnationFolders, makePassable } from "./places.ts";
import { constantMounts, writeEtc } from "./root-file-system.ts";
import { compileSeccomp } from "./seccomp.ts";
import { createUids, defaultUidBase, type Uids } from "./uid.ts";

const run = promisify(execFile);
const bwrapPaths = ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"];
const DEFAULT_READY_DISKS = 4;
export const DEFAULT_DISK_BYTES = 1024 ** 3;
/** Reads of the sandbox's disk pass the host's disk as well; without slack there they are counted down twice. */
const HOST_READ_FACTOR = 1.1;

export interface BubblewrapOptions {
  incarnation: string;
  /** Names everything of this installation on this host: `[a-z0-9-]`. */
  instance: string;
  /** Holds the disk images; made 0700. */
  stateDir: string;
  /** Used where the caller is not root; made 0700. */
  runDir: string;
  uidBase?: number;
  /** How many disks of the default size are kept ready. */
  warmDisks?: number;
  log?: (message: string, fields: Record<string, unknown>) => void;
}

/** Everything a sandbox is made of, open for the life of the driver. */
export interface Host extends AsyncDisposable {
  readonly bwrap: string;
  readonly features: BwrapFeatures;
  readonly seccomp: Buffer;
  readonly mounts: readonly string[];
  readonly groups: Groups;
  /** Null where the caller is not root. */
  readonly root: { uids: Uids; disks: Disks; residents: Residents; throttledHost: readonly ThrottledDevice[] } | null;
}

/** Opens every part; throws SandboxUnavailable with all problems found. */
export async function openHost(options: BubblewrapOptions): Promise<Host> {
  await using opened = new AsyncDisposableStack();
  const problems: Problem[] = [];
  const attempt = async <T>(open: () => T | Promise<T>): Promise<T | null> => {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof SandboxUnavailable)) throw error;
      problems.push(...error.problems);
      return null;
    }
  };
  const bwrap = await attempt(findBwrap);
  const seccomp = await attempt(compileSeccomp);
  const groups = await attempt(() => startGroups(options));
  if (!bwrap || !seccomp || !groups) throw new SandboxUnavailable(problems);
  opened.defer(() => groups.remove());
  const folders = incarnationFolders(options);
  makePassable(folders.shared);
  opened.defer(async () => {
    await rm(folders.shared, { recursive: true, force: true });
    for (const folder of [folders.shared, folders.images]) removeIfEmpty(dirname(folder));
  });
  const root = process.getuid?.() === 0 ? opened.use(openRootParts(options)) : null;
  const parts = opened.move();
  return {
    ...{ ...bwrap, seccomp, groups, root, mounts: constantMounts(writeEtc(folders.shared)) },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

function openRootParts(options: BubblewrapOptions) {
  const { images, mounts } = incarnationFolders(options);
  mkdirSync(options.stateDir, { recursive: true, mode: 0o700 });
  const disks = startDisks({
    ...{ imageDir: images, mountDir: mounts, log: options.log ?? (() => {}) },
    ...{ readyCount: options.warmDisks ?? DEFAULT_READY_DISKS, readySizeBytes: DEFAULT_DISK_BYTES },
  });
  const uids = createUids(options.uidBase ?? defaultUidBase(options.instance));
  return {
    uids,
    disks,
    residents: openResidents(join(options.stateDir, "kept"), uids),
    throttledHost: findHostDisks([options.stateDir, "/usr"]),
    [Symbol.asyncDispose]: () => disks[Symbol.asyncDispose](),
  };
}

async function findBwrap(): Promise<{ bwrap: string; features: BwrapFeatures }> {
  const bwrap = bwrapPaths.find(isExecutable);
  if (!bwrap) {
    throw new SandboxUnavailable([{ cause: "bubblewrap is not installed.", mend: "Run: apt-get install bubblewrap" }]);
  }
  if (process.getuid?.() === 0 && !isExecutable(SETPRIV)) {
    throw new SandboxUnavailable([{ cause: "setpriv is not installed.", mend: "Run: apt-get install util-linux" }]);
  }
  const { stdout, stderr } = await run(bwrap, ["--help"], { env: {} });
  return { bwrap, features: parseFeatures(stdout + stderr) };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The whole disks under these paths; none where a file system has no device of its own (overlay, btrfs). */
function findHostDisks(paths: readonly string[]): ThrottledDevice[] {
  const found = new Map<string, Device>();
  for (const path of paths) {
    const { major, minor } = deviceOf(path);
    const link = `/sys/dev/block/${major}:${minor}`;
    if (!existsSync(link)) continue;
    // Only a whole disk can be throttled; a partition's folder lies inside its disk's.
    const sys = realpathSync(link);
    const numbers = readDevice(existsSync(join(sys, "partition")) ? join(sys, "..") : sys);
    if (numbers) found.set(`${numbers.major}:${numbers.minor}`, numbers);
  }
  return [...found.values()].map((device) => ({ device, readFactor: HOST_READ_FACTOR, writes: false }));
}

function readDevice(sys: string): Device | null {
  const [major, minor] = readFileSync(join(sys, "dev"), "latin1").trim().split(":").map(Number);
  return major === undefined || minor === undefined ? null : { major, minor };
}
