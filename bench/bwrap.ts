// The raw primitive of a sandbox: bubblewrap by itself, with the same namespaces and mounts, without limits, uid, disk or
// records.
import { spawn } from "node:child_process";
import { once } from "node:events";

const base = [
  ...["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"],
  ...[
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
  ],
  ...[
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--tmpfs",
    "/workspace",
    "--chdir",
    "/workspace",
    "--clearenv",
  ],
];

/** Runs a command in a bare sandbox; answers when its first output came and when it ended, milliseconds after the start. */
export async function bareBwrap(...command: string[]): Promise<{ firstLineMs: number; endMs: number }> {
  const start = performance.now();
  const child = spawn("bwrap", [...base, ...command], { stdio: ["ignore", "pipe", "ignore"] });
  let firstLineMs = Number.NaN;
  child.stdout.once("data", () => {
    firstLineMs = performance.now() - start;
  });
  child.stdout.resume();
  await once(child, "close");
  return { firstLineMs, endMs: performance.now() - start };
}
