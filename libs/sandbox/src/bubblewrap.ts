// The bubblewrap driver: a job as a tree of processes in namespaces of its own.
//
// A sandbox is made of, in this order: a uid nobody else has, a disk (a mounted file system of exactly the size asked for), a
// cgroup with every limit, and a bwrap process that is moved into the cgroup before it does anything (launch.ts). The
// filter (seccomp.ts), the root file system (root-file-system.ts) and the arguments (arguments.ts) say what is inside.
//
// It is ended in the reverse order, and only when the cgroup is empty: a uid or a disk whose tree could not be emptied is
// never used again. The kernel decides what belongs to the tree, so double forks, new sessions and ignored signals change
// nothing. What a killed worker leaves is ended by the warden and removed by `reapIncarnations`.
//
// Limits of the design, known and accepted: a job shares the host's kernel; `/usr` of the host is readable; the command line
// of a job shows in the host's `ps`; bwrap reports a death by signal as a shell does (exit.ts); a job finds PWD in its
// environment besides what it was given.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { isAbsolute, join, normalize } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { sandboxArguments } from "./arguments.ts";
import type { Disk } from "./disk.ts";
import {
  type Driver,
  type Exit,
  type Problem,
  type Room,
  type Sandbox,
  type SandboxSpec,
  SandboxUnavailable,
} from "./driver.ts";
import { toExit } from "./exit.ts";
import { explain } from "./explain.ts";
import type { Group } from "./group.ts";
import { type BubblewrapOptions, DEFAULT_DISK_BYTES, type Host, openHost } from "./host.ts";
import type { Residency } from "./kept-disk.ts";
import { emptyGroup, isGroupEmpty, killGroup } from "./kill.ts";
import { type Launched, launch } from "./launch.ts";
import { openToResident } from "./sockets.ts";
import { createRoom } from "./tool.ts";

/** bwrap itself and the sandbox's init count in its cgroup. */
const OWN_PROCESSES = 2;
const EMPTY_TIMEOUT_MS = 30_000;
const PROBE_LIMITS = { cpus: 1, memoryBytes: 64 * 1024 ** 2, pids: 16, readBps: null, writeBps: null };
const writablePlaces = ["/workspace", "/outputs", "/tmp"];

/** Starts the driver. What the host lacks is told by `probe` and `prepare`, which look again until it is there. */
export async function startBubblewrapDriver(options: BubblewrapOptions): Promise<Driver> {
  assert.match(options.instance, /^[a-z0-9-]{1,40}$/, "an instance's name is part of paths");
  assert.match(options.incarnation, /^[a-z0-9_-]{1,100}$/, "an incarnation's name is part of paths");
  let opening: Promise<Host> | null = null;
  let root: Host["root"] = null;
  const open = (): Promise<Host> => {
    opening ??= openHost(options).then(
      (host) => {
        root = host.root;
        return host;
      },
      (error: unknown) => {
        opening = null;
        throw error;
      },
    );
    return opening;
  };
  const living = new Set<Sandbox>();
  const prepare = async (spec: SandboxSpec): Promise<Sandbox> => {
    const sandbox = await prepareSandbox(await open(), spec, () => living.delete(sandbox));
    living.add(sandbox);
    return sandbox;
  };
  await open().catch((error: unknown) => {
    if (!(error instanceof SandboxUnavailable)) throw error;
  });
  return {
    name: "bubblewrap",
    freeDiskBytes: () => root?.disks.freeBytes() ?? null,
    prepare,
    probe: () => probe(prepare),
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...living].map((sandbox) => sandbox[Symbol.asyncDispose]()));
      await (await opening)?.[Symbol.asyncDispose]();
    },
  };
}

/** What a sandbox holds, in the order in which it is taken. */
interface Parts {
  residency: Residency | null;
  uid: number | null;
  disk: Disk | null;
  group: Group | null;
  launched: Launched | null;
}

async function prepareSandbox(host: Host, spec: SandboxSpec, onEnded: () => void): Promise<Sandbox> {
  assertSpec(spec);
  const parts: Parts = { residency: null, uid: null, disk: null, group: null, launched: null };
  try {
    if (host.root) await takeRootParts(host.root, spec, parts);
    const group = makeGroup(host, spec, parts.disk);
    parts.group = group;
    const room = roomOf(host, { ...parts, group });
    await fill(spec, room);
    const launched = await launch({
      ...{ bwrap: host.bwrap, seccomp: host.seccomp, uid: parts.uid, command: spec.command, stdin: spec.stdin },
      secrets: spec.secrets ?? [],
      arguments: sandboxArguments(spec, { ...host, disk: parts.disk }),
    });
    parts.launched = launched;
    await group.join(launched.pid);
    if (!(await launched.build())) throw await buildError(launched, group);
    return createSandbox(spec, { ...parts, group, launched, room }, async () => {
      await endSandbox(host, parts);
      onEnded();
    });
  } catch (error) {
    await endSandbox(host, parts);
    throw error;
  }
}

/** A uid and a disk: a resident's own, or new ones. */
async function takeRootParts(root: NonNullable<Host["root"]>, spec: SandboxSpec, parts: Parts): Promise<void> {
  const { resident, limits } = spec;
  if (!resident) {
    parts.uid = root.uids.take();
    parts.disk = await root.disks.acquire(limits.diskBytes, parts.uid);
    return;
  }
  const residency = await root.residents.enter(resident.name);
  parts.residency = residency;
  parts.uid = residency.uid;
  openToResident(resident.sockets, residency.uid);
  parts.disk = await root.disks.acquireKept(residency.image, limits.diskBytes, residency.uid);
}

function roomOf(host: Host, { uid, disk, group }: Parts & { group: Group }): Room | null {
  return uid === null || disk === null ? null : createRoom({ ...host, uid, disk, group });
}

async function fill(spec: SandboxSpec, room: Room | null): Promise<void> {
  if (!spec.fill) return;
  if (room) return spec.fill(room);
  const cause = "Inputs and named outputs need a disk of their own, which an ordinary user cannot mount.";
  throw new SandboxUnavailable([{ cause, mend: "Run Aether as root, or submit the job without inputs and outputs." }]);
}

function makeGroup(host: Host, spec: SandboxSpec, disk: Disk | null): Group {
  const own = disk ? [{ device: disk.device, readFactor: 1, writes: true }] : [];
  const limits = { ...spec.limits, pids: spec.limits.pids + OWN_PROCESSES };
  return host.groups.create(spec.id, limits, [...own, ...(host.root?.throttledHost ?? [])]);
}

async function buildError(launched: Launched, group: Group): Promise<Error> {
  const [{ code, signal }, message] = await Promise.all([launched.ended, text(launched.stderr)]);
  const problem: Problem | null =
    group.usage().oomKills > 0
      ? { cause: "The memory limit is too small to build a sandbox in.", mend: "Ask for at least 4 MiB of memory." }
      : explain(message);
  if (problem) return new SandboxUnavailable([problem]);
  return new Error(`bwrap ended while it built the sandbox (${signal ?? code}): ${message.trim()}`);
}

function createSandbox(
  spec: SandboxSpec,
  parts: Parts & { group: Group; launched: Launched; room: Room | null },
  end: () => Promise<void>,
): Sandbox {
  const { group, launched, disk } = parts;
  let isReleased = false;
  let hasEnded = false;
  let ending: Promise<void> | null = null;
  const exited: Promise<Exit> = launched.ended.then((exit) => {
    hasEnded = true;
    return toExit(exit, spec, (path) => toHostPath(path, disk));
  });
  return {
    id: spec.id,
    room: parts.room,
    enforced: { ...group.enforced, disk: disk ? "loop" : "tmpfs" },
    stdout: launched.stdout,
    stderr: launched.stderr,
    release: () => {
      isReleased = true;
      launched.release();
    },
    signal: (signal) => isReleased && !hasEnded && sendSignal(launched, signal, () => hasEnded),
    kill: () => {
      killGroup(group.path);
    },
    exited,
    empty: (timeoutMs) => waitUntilEmpty(group.path, timeoutMs),
    usage: async () => {
      const usage = group.usage();
      const io = disk?.io() ?? { ioReadBytes: 0, ioWriteBytes: 0 };
      return { ...usage, ...io, pidsPeak: Math.max(0, usage.pidsPeak - OWN_PROCESSES) };
    },
    [Symbol.asyncDispose]: () => {
      ending ??= end();
      return ending;
    },
  };
}

/** Right after the release the command's process may not exist yet; then the signal follows as soon as it does. */
function sendSignal(launched: Launched, signal: "SIGTERM" | "SIGINT", hasEnded: () => boolean): boolean {
  const pid = launched.findCommand();
  if (pid === null) {
    setTimeout(() => hasEnded() || sendSignal(launched, signal, hasEnded), 2);
    return true;
  }
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    // It ended this very moment.
    return false;
  }
}

/** Ends and gives back what is held, in reverse order. Throws, and gives nothing back, when the tree cannot be emptied. */
async function endSandbox(host: Host, parts: Parts): Promise<void> {
  const { residency, uid, disk, group, launched } = parts;
  launched?.kill();
  if (group && !(await emptyGroup(group.path, EMPTY_TIMEOUT_MS))) {
    throw new Error(`processes in ${group.path} cannot be killed; its uid and disk are not used again`);
  }
  await launched?.ended;
  launched?.stdout.destroy();
  launched?.stderr.destroy();
  launched?.close();
  await group?.remove();
  await disk?.release();
  if (residency) residency.leave();
  else if (uid !== null) host.root?.uids.give(uid);
}

async function waitUntilEmpty(path: string, timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  for (let pauseMs = 1; !isGroupEmpty(path); pauseMs = Math.min(20, pauseMs * 2)) {
    if (performance.now() > end) return false;
    await delay(pauseMs);
  }
  return true;
}

function toHostPath(path: string, disk: Disk | null): string {
  const [, top = "", ...rest] = path.split("/");
  if (disk && (top === "workspace" || top === "outputs")) return join(disk[top], ...rest);
  return path;
}

function assertSpec(spec: SandboxSpec): void {
  assert.match(spec.id, /^[a-z0-9_-]{1,100}$/, "a sandbox's id is part of paths");
  if (spec.resident) assert.match(spec.resident.name, /^[a-z0-9-]{1,32}$/, "a resident's name is part of paths");
  assert(spec.command.length > 0, "there is a command");
  const texts = [...spec.command, spec.workingDir, ...Object.entries(spec.env).flat()];
  assert(!texts.some((value) => value.includes("\0")), "no argument holds a NUL byte");
  assert(!Object.keys(spec.env).some((name) => name === "" || name.includes("=")), "variables have names without =");
  const { workingDir } = spec;
  const isBelow = writablePlaces.some((place) => workingDir === place || workingDir.startsWith(`${place}/`));
  assert(
    isAbsolute(workingDir) && normalize(workingDir) === workingDir && isBelow,
    "the working directory is writable",
  );
}

/** Makes a real sandbox, runs /bin/true in it and ends it. */
async function probe(prepare: Driver["prepare"]): Promise<Awaited<ReturnType<Driver["probe"]>>> {
  const id = `probe-${randomBytes(6).toString("hex")}`;
  const limits = { ...PROBE_LIMITS, diskBytes: DEFAULT_DISK_BYTES };
  const spec = { id, command: ["/bin/true"], env: {}, workingDir: "/workspace", stdin: null, limits };
  try {
    await using sandbox = await prepare(spec);
    const { enforced } = sandbox;
    sandbox.release();
    const { exitCode, signal } = await sandbox.exited;
    if (exitCode === 0) return { usable: true, problems: [], enforced };
    return { usable: false, problems: [unknown(`/bin/true ended with ${signal ?? exitCode}`)], enforced: null };
  } catch (error) {
    const problems = error instanceof SandboxUnavailable ? [...error.problems] : [unknown(String(error))];
    return { usable: false, problems, enforced: null };
  }
}

function unknown(what: string): Problem {
  return { cause: `A sandbox could not run: ${what}.`, mend: "The worker's log tells more." };
}
