// Groups on cgroup v2. As root they lie directly under the hierarchy's root; as an ordinary user in the subtree that was
// delegated to this process (a systemd unit with Delegate=yes). A group that has subgroups with controllers may hold no
// process itself, so whatever runs in a delegated node is first moved to a leaf of it.
import { existsSync, mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Problem, type SandboxSpec, SandboxUnavailable } from "./driver.ts";
import {
  type Group,
  type Groups,
  type GroupUsage,
  isWritable,
  joinGroups,
  readControl,
  readKeyed,
  readNumber,
  removeGroup,
  removeGroupTree,
  removeIfEmpty,
  type ThrottledDevices,
  writeControl,
} from "./group.ts";

/** The leaf that holds whatever ran in the delegated node itself. */
const LEAF = "aether-main";
const CPU_PERIOD_US = 100_000;
const MIN_QUOTA_US = 1_000;
const required = ["memory", "pids", "cpu"] as const;

/** The folder under which our groups lie: the root for root, else this process's own delegated node. */
export function findBase2(mount: string, cgroupOfSelf = readFileSync("/proc/self/cgroup", "utf8")): string {
  if (process.getuid?.() === 0) return mount;
  const own =
    cgroupOfSelf
      .split("\n")
      .find((line) => line.startsWith("0::"))
      ?.slice("0::".length) ?? "/";
  const node = basename(own) === LEAF ? dirname(own) : own;
  return join(mount, node);
}

/** Makes the incarnation's group with its controllers enabled all the way down. */
export async function createGroups2(base: string, folder: string): Promise<Groups> {
  assertDelegated(base);
  const [instance = "", incarnation = ""] = folder.split("/");
  await enableControllers(base, true);
  const above = join(base, instance);
  mkdirSync(above, { recursive: true });
  await enableControllers(above, false);
  const path = join(above, incarnation);
  mkdirSync(path, { recursive: true });
  const hasIo = await enableControllers(path, false);
  return {
    kind: "cgroup2",
    path,
    create: (id, limits, devices) => createGroup(join(path, id), limits, hasIo ? devices : null),
    remove: async () => {
      await removeGroupTree(path);
      removeIfEmpty(above);
    },
  };
}

function assertDelegated(base: string): void {
  const controllers = (readControl(base, "cgroup.controllers") ?? "").split(" ");
  const missing = required.filter((name) => !controllers.includes(name));
  const isOurs = isWritable(base) && isWritable(join(base, "cgroup.procs"));
  if (isOurs && missing.length === 0) return;
  throw new SandboxUnavailable([notDelegated(base, isOurs ? missing : required)]);
}

function notDelegated(base: string, missing: readonly string[]): Problem {
  const mend =
    process.getuid?.() === 0
      ? "Give the worker a writable /sys/fs/cgroup with these controllers, or run it outside a container."
      : "Run as root, or in a delegated unit: systemd-run --user --scope -p Delegate=yes ./aether up";
  return { cause: `The control group ${base} is not delegated to this user (${missing.join(", ")}).`, mend };
}

/** Enables what the sandboxes need below `group`; answers whether io is among it. */
async function enableControllers(group: string, mayEvacuate: boolean): Promise<boolean> {
  for (const name of required) {
    try {
      writeControl(group, "cgroup.subtree_control", `+${name}`);
    } catch (cause) {
      if (!mayEvacuate || !isBusy(cause)) throw new SandboxUnavailable([notDelegated(group, [name])], { cause });
      await evacuate(group);
      return enableControllers(group, false);
    }
  }
  try {
    writeControl(group, "cgroup.subtree_control", "+io");
    return true;
  } catch {
    // Without the io controller a job that asks for io limits is refused; all others run.
    return false;
  }
}

/** Moves every process of the node into its leaf; what they start later starts there. */
async function evacuate(node: string): Promise<void> {
  const leaf = join(node, LEAF);
  mkdirSync(leaf, { recursive: true });
  for (let round = 0; round < 100; round++) {
    const pids = readFileSync(join(node, "cgroup.procs"), "latin1").split("\n").filter(Boolean).map(Number);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        await joinGroups([leaf], pid);
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
      }
    }
  }
}

function createGroup(path: string, limits: SandboxSpec["limits"], devices: ThrottledDevices | null): Group {
  mkdirSync(path);
  try {
    setLimits(path, limits);
    const io = throttle(path, limits, devices);
    return {
      enforced: { memory: "cgroup2", cpus: "cgroup2", pids: "cgroup2", io },
      path,
      join: (pid) => joinGroups([path], pid),
      usage: () => readUsage(path),
      remove: () => removeGroup(path),
    };
  } catch (error) {
    rmdirSync(path);
    throw error;
  }
}

function setLimits(path: string, limits: SandboxSpec["limits"]): void {
  writeControl(path, "memory.max", limits.memoryBytes);
  // Missing where the kernel has no swap.
  if (existsSync(join(path, "memory.swap.max"))) writeControl(path, "memory.swap.max", 0);
  writeControl(path, "pids.max", limits.pids);
  const quotaUs = Math.max(MIN_QUOTA_US, Math.round(limits.cpus * CPU_PERIOD_US));
  writeControl(path, "cpu.max", `${quotaUs} ${CPU_PERIOD_US}`);
}

function throttle(path: string, limits: SandboxSpec["limits"], devices: ThrottledDevices | null): string {
  const { readBps, writeBps } = limits;
  if (readBps === null && writeBps === null) return "none";
  if (!devices || devices.length === 0) {
    const cause = "Io limits cannot hold: there is no io controller here, or the disk is memory.";
    throw new SandboxUnavailable([{ cause, mend: "Submit without resources.io, or run the worker as root." }]);
  }
  for (const { device, readFactor, writes } of devices) {
    const read = readBps === null ? "" : ` rbps=${Math.round(readBps * readFactor)}`;
    const write = writes && writeBps !== null ? ` wbps=${writeBps}` : "";
    if (read || write) writeControl(path, "io.max", `${device.major}:${device.minor}${read}${write}`);
  }
  return "cgroup2";
}

function readUsage(path: string): GroupUsage {
  return {
    cpuMs: readKeyed(path, "cpu.stat", "usage_usec") / 1e3,
    memoryPeakBytes: readNumber(path, "memory.peak"),
    oomKills: readKeyed(path, "memory.events", "oom_kill"),
    pidsPeak: readNumber(path, "pids.peak"),
  };
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EBUSY";
}
