// Groups on cgroup v1: one folder per sandbox in each controller's hierarchy, and one in the controller-less cgroup2
// hierarchy of hybrid hosts, which kills a tree at once and tells when it is empty. Only root may use it: v1 cannot be
// delegated safely.
//
// What v1 cannot do: throttle buffered writes, because the kernel writes them back in its own name.
import { existsSync, mkdirSync, rmdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { type SandboxSpec, SandboxUnavailable } from "./driver.ts";
import {
  type CgroupMounts,
  type Group,
  type Groups,
  type GroupUsage,
  joinGroups,
  readKeyed,
  readNumber,
  removeGroup,
  removeGroupTree,
  removeIfEmpty,
  type ThrottledDevices,
  writeControl,
} from "./group.ts";

const CPU_PERIOD_US = 100_000;
/** The kernel's least quota. */
const MIN_QUOTA_US = 1_000;

/** The folders of one group by what they are for; several may be the same folder where controllers are mounted together. */
interface Folders {
  memory: string;
  pids: string;
  cpu: string;
  blkio: string | null;
  /** Where CPU time is read: the cgroup2 hierarchy counts it too, which saves joining one more. */
  account: string;
  kill: string;
}

/** Makes the incarnation's folders in every hierarchy. */
export function createGroups1(mounts: CgroupMounts, killBase: string, folder: string): Groups {
  if (process.getuid?.() !== 0) throw new SandboxUnavailable([notRoot]);
  const bases = findBases(mounts, killBase);
  const own = mapFolders(bases, folder);
  for (const path of distinct(own)) makeFolder(path);
  const features = {
    hasSwapLimit: existsSync(join(own.memory, "memory.memsw.limit_in_bytes")),
    countsNanoseconds: existsSync(join(own.account, "cpuacct.usage")),
  };
  return {
    kind: "cgroup1",
    path: own.kill,
    create: (id, limits, devices) => createGroup(mapFolders(own, id), limits, devices, features),
    remove: async () => {
      for (const path of distinct(own)) {
        await removeGroupTree(path);
        removeIfEmpty(dirname(path));
      }
    },
  };
}

const notRoot = {
  cause: "Limits cannot be enforced for an ordinary user on cgroup v1.",
  mend: "Run the worker as root, or boot with systemd.unified_cgroup_hierarchy=1.",
};

function findBases(mounts: CgroupMounts, killBase: string): Folders {
  const find = (controller: string): string => {
    const mount = mounts.v1.get(controller);
    if (mount) return mount;
    const cause = `The ${controller} controller is not available in cgroup v1 or v2.`;
    throw new SandboxUnavailable([{ cause, mend: `Boot a kernel with the ${controller} controller enabled.` }]);
  };
  return {
    memory: find("memory"),
    pids: find("pids"),
    cpu: find("cpu"),
    blkio: mounts.v1.get("blkio") ?? null,
    account: mounts.v2 ?? find("cpuacct"),
    kill: killBase,
  };
}

function mapFolders(folders: Folders, below: string): Folders {
  return {
    memory: join(folders.memory, below),
    pids: join(folders.pids, below),
    cpu: join(folders.cpu, below),
    blkio: folders.blkio && join(folders.blkio, below),
    account: join(folders.account, below),
    kill: join(folders.kill, below),
  };
}

/** The kill folder comes first, so that whatever exists of a group can be killed. */
function distinct(folders: Folders): string[] {
  const { kill, memory, pids, cpu, blkio, account } = folders;
  return [...new Set([kill, memory, pids, cpu, account, ...(blkio ? [blkio] : [])])];
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    const problem = {
      cause: `The control group ${path} cannot be made.`,
      mend: "Give the worker a writable /sys/fs/cgroup, or run it outside a container.",
    };
    throw new SandboxUnavailable([problem], { cause });
  }
}

interface Features {
  hasSwapLimit: boolean;
  /** Of the folder where CPU time is read: cpuacct's does, cgroup2's counts microseconds. */
  countsNanoseconds: boolean;
}

function createGroup(
  folders: Folders,
  limits: SandboxSpec["limits"],
  devices: ThrottledDevices,
  features: Features,
): Group {
  const paths = distinct(folders);
  const made: string[] = [];
  try {
    for (const path of paths) {
      // Not recursive: a reaped incarnation has no folder left, and nothing may start in it any more.
      mkdirSync(path);
      made.push(path);
    }
    setLimits(folders, limits, features.hasSwapLimit);
    return {
      enforced: { memory: "cgroup1", cpus: "cgroup1", pids: "cgroup1", io: throttle(folders.blkio, limits, devices) },
      path: folders.kill,
      join: (pid) => joinGroups(paths, pid),
      usage: () => readUsage(folders, features),
      remove: async () => {
        for (const path of paths) await removeGroup(path);
      },
    };
  } catch (error) {
    for (const path of made) rmdirSync(path);
    throw error;
  }
}

function setLimits(folders: Folders, limits: SandboxSpec["limits"], hasSwapLimit: boolean): void {
  writeControl(folders.memory, "memory.limit_in_bytes", limits.memoryBytes);
  if (hasSwapLimit) writeControl(folders.memory, "memory.memsw.limit_in_bytes", limits.memoryBytes);
  // A kernel without swap accounting can still be told not to swap this group.
  else writeControl(folders.memory, "memory.swappiness", 0);
  writeControl(folders.pids, "pids.max", limits.pids);
  // Within the kernel's default period.
  writeControl(folders.cpu, "cpu.cfs_quota_us", Math.max(MIN_QUOTA_US, Math.round(limits.cpus * CPU_PERIOD_US)));
}

function throttle(blkio: string | null, limits: SandboxSpec["limits"], devices: ThrottledDevices): string {
  const { readBps, writeBps } = limits;
  if (readBps === null && writeBps === null) return "none";
  if (!blkio) {
    const cause = "The blkio controller is not available, so io limits cannot hold.";
    throw new SandboxUnavailable([{ cause, mend: "Submit without resources.io, or enable the controller." }]);
  }
  for (const { device, readFactor, writes } of devices) {
    const numbers = `${device.major}:${device.minor}`;
    const limit = Math.round((readBps ?? 0) * readFactor);
    if (limit > 0) writeControl(blkio, "blkio.throttle.read_bps_device", `${numbers} ${limit}`);
    if (writes && writeBps) writeControl(blkio, "blkio.throttle.write_bps_device", `${numbers} ${writeBps}`);
  }
  return "cgroup1; buffered writes are not throttled";
}

function readUsage({ account, memory, pids }: Folders, { countsNanoseconds }: Features): GroupUsage {
  return {
    cpuMs: countsNanoseconds
      ? readNumber(account, "cpuacct.usage") / 1e6
      : readKeyed(account, "cpu.stat", "usage_usec") / 1e3,
    memoryPeakBytes: readNumber(memory, "memory.max_usage_in_bytes"),
    oomKills: readKeyed(memory, "memory.oom_control", "oom_kill"),
    pidsPeak: readNumber(pids, "pids.peak"),
  };
}
