// Control groups of this host: which generation holds the limits, and where our groups lie. Groups are named
//
//   <base>/aether-<instance>/<incarnation>/<sandbox id>
//
// so that a whole incarnation, or everything of an instance, is ended with one write, and nothing of another instance on
// the same host is ever touched. A limit that cannot be set is a refusal, never a warning.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createGroups1 } from "./cgroup1.ts";
import { createGroups2, findBase2 } from "./cgroup2.ts";
import { SandboxUnavailable } from "./driver.ts";
import type { CgroupMounts, GroupName, Groups } from "./group.ts";

const required = ["memory", "pids", "cpu"] as const;

/** Reads /proc/self/mountinfo; the argument is for tests. */
export function findMounts(mountinfo = readFileSync("/proc/self/mountinfo", "utf8")): CgroupMounts {
  const v1 = new Map<string, string>();
  let v2: string | null = null;
  for (const line of mountinfo.split("\n")) {
    const [left = "", right = ""] = line.split(" - ");
    const mountPoint = left.split(" ")[4] ?? "";
    const [type, , options = ""] = right.split(" ");
    if (type === "cgroup2") v2 ??= mountPoint;
    if (type === "cgroup") {
      for (const option of options.split(",")) if (!v1.has(option)) v1.set(option, mountPoint);
    }
  }
  return { v1, v2 };
}

/** Whether this host's controllers are those of cgroup v2. */
export function hasControllers2(mounts: CgroupMounts): boolean {
  return mounts.v2 !== null && !required.every((controller) => mounts.v1.has(controller));
}

/**
 * The group by which an incarnation is killed, known before anything of it exists: what the warden is told.
 * Throws SandboxUnavailable where groups cannot be had.
 */
export function groupPath(name: GroupName): string {
  return join(killBase(findMounts()), groupFolder(name));
}

/** The folder under which an instance's groups lie, relative to any hierarchy's base. */
export function instanceGroup(instance: string): string {
  return `aether-${instance}`;
}

/** Every base under which an instance may have groups, the one that kills first. */
export function listBases(mounts: CgroupMounts): string[] {
  if (!mounts.v2 && mounts.v1.size === 0) return [];
  const kill = killBase(mounts);
  return hasControllers2(mounts) ? [kill] : [...new Set([kill, ...mounts.v1.values()])];
}

function groupFolder(name: GroupName): string {
  return join(instanceGroup(name.instance), name.incarnation);
}

function killBase(mounts: CgroupMounts): string {
  if (hasControllers2(mounts)) return findBase2(mounts.v2 ?? "");
  const base = mounts.v2 ?? mounts.v1.get("pids");
  if (base) return base;
  const cause = "This host has no control groups mounted.";
  throw new SandboxUnavailable([{ cause, mend: "Mount them: mount -t cgroup2 none /sys/fs/cgroup" }]);
}

/** Makes the incarnation's groups; throws SandboxUnavailable with cause and mend where limits cannot be enforced. */
export async function startGroups(name: GroupName): Promise<Groups> {
  const mounts = findMounts();
  const base = killBase(mounts);
  return hasControllers2(mounts)
    ? createGroups2(base, groupFolder(name))
    : createGroups1(mounts, base, groupFolder(name));
}
