// The arguments of bwrap for one sandbox. They travel by descriptor, so neither the job's environment nor its paths show in
// anybody's `ps`; only the command itself does, as it does when it runs.

import type { Disk } from "./disk.ts";
import type { SandboxSpec, SecretFile } from "./driver.ts";
import { descriptorArguments, FIRST_SECRET_FD } from "./launch.ts";
import { INNER_UID } from "./root-file-system.ts";

/** Options of bwrap that older releases lack, each with something else that holds in their absence. */
export interface BwrapFeatures {
  /** Since 0.8; before it the seccomp filter alone forbids nested user namespaces. */
  disableUserns: boolean;
  /** Since 0.7; before it the memory limit alone bounds /tmp. */
  tmpfsSize: boolean;
}

/** What `bwrap --help` tells of them. */
export function parseFeatures(help: string): BwrapFeatures {
  return { disableUserns: help.includes("--disable-userns"), tmpfsSize: help.includes("--size ") };
}

/** Everything but the command. */
export function sandboxArguments(
  spec: SandboxSpec,
  host: { mounts: readonly string[]; features: BwrapFeatures; disk: Disk | null },
): string[] {
  const { memoryBytes, diskBytes } = spec.limits;
  const tmpfs = (path: string, sizeBytes: number): string[] => [
    ...["--perms", "1777", ...(host.features.tmpfsSize ? ["--size", String(sizeBytes)] : [])],
    ...["--tmpfs", path],
  ];
  return [
    ...["--die-with-parent", "--new-session", "--cap-drop", "ALL"],
    ...["--uid", String(INNER_UID), "--gid", String(INNER_UID)],
    ...(host.features.disableUserns ? ["--disable-userns"] : []),
    ...host.mounts,
    ...tmpfs("/tmp", memoryBytes),
    ...(host.disk ? bindDisk(host.disk) : memoryDisk(tmpfs("/workspace", diskBytes))),
    ...(spec.resident ? ["--ro-bind", spec.resident.sockets, "/run/aether"] : []),
    ...secretFiles(spec.secrets ?? []),
    ...["--dir", spec.workingDir, "--chdir", spec.workingDir, "--remount-ro", "/"],
    ...["--clearenv", ...Object.entries(spec.env).flatMap(([name, value]) => ["--setenv", name, value])],
    ...descriptorArguments,
    // Last, for launch.ts: arguments that are cut short are refused as a whole.
    ...["--unshare-user", "--unshare-all"],
  ];
}

function bindDisk(disk: Disk): string[] {
  const writable = ["--bind", disk.workspace, "/workspace", "--bind", disk.outputs, "/outputs"];
  return [...writable, "--ro-bind", disk.inputs, "/inputs"];
}

/** On the root file system of the sandbox, which is memory of its own and becomes read-only. */
function secretFiles(secrets: readonly SecretFile[]): string[] {
  if (secrets.length === 0) return [];
  const files = secrets.flatMap(({ path }, i) => ["--perms", "0400", "--file", String(FIRST_SECRET_FD + i), path]);
  return ["--perms", "0500", "--dir", "/secrets", ...files];
}

/** Without root there is no disk to mount: one tmpfs holds both folders, so that they share its size. */
function memoryDisk(workspace: string[]): string[] {
  return [...workspace, "--dir", "/workspace/.outputs", "--symlink", "/workspace/.outputs", "/outputs"];
}
