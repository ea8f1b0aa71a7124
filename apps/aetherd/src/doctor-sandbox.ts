// The doctor's look at what a sandbox needs. The worker's own probe makes one and ends it; what it reports is what a job
// would be refused with.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import type { AetherdConfig } from "./config.ts";
import { type Check, fail, ok } from "./doctor-check.ts";
import { constantPath, rootDir } from "./programs.ts";

const probeLimitMs = 60_000;
const Probe = z.object({
  usable: z.boolean(),
  problems: z.array(z.object({ cause: z.string(), mend: z.string() })),
  enforced: z.record(z.string(), z.string()).nullable(),
});

/** Which cgroups there are; whether they will do is the probe's to say. */
export function checkCgroups(): Check {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .flatMap((line) => / - (cgroup2?) \S+ (\S+)/.exec(line)?.slice(1, 3).join(" ") ?? []);
  const controllers = mounts.filter((mount) => mount.startsWith("cgroup ")).length;
  const hasUnified = mounts.some((mount) => mount.startsWith("cgroup2 "));
  if (controllers === 0 && !hasUnified) {
    return fail("cgroups", "none are mounted, so no limit can be enforced", "mount cgroup2 at /sys/fs/cgroup");
  }
  return ok("cgroups", controllers === 0 ? "version 2" : `version 1 (${controllers} hierarchies)`);
}

export async function checkSandbox(config: AetherdConfig): Promise<Check[]> {
  const folder = mkdtempSync(join(tmpdir(), "aether-doctor-"));
  try {
    const probe = await runProbe(folder, config);
    if (probe.usable) return [ok("sandbox", `bubblewrap works; ${describe(probe.enforced ?? {})}`)];
    return probe.problems.map(({ cause, mend }) => fail("sandbox", cause, mend));
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    return [fail("sandbox", `the probe failed: ${detail}`, "report this with the output of `aether doctor --json`")];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runProbe(folder: string, config: AetherdConfig): Promise<z.infer<typeof Probe>> {
  const cache = config.NODE_COMPILE_CACHE;
  const { stdout } = await promisify(execFile)(process.execPath, [join(rootDir, "services/worker/src/probe-main.ts")], {
    timeout: probeLimitMs,
    cwd: "/",
    env: {
      PATH: constantPath,
      ...(cache !== undefined && { NODE_COMPILE_CACHE: cache }),
      AETHER_WORKER_INSTANCE: `doctor${process.pid}`,
      AETHER_WORKER_STATE_DIR: join(folder, "state"),
      AETHER_WORKER_RUN_DIR: join(folder, "run"),
    },
  });
  return Probe.parse(JSON.parse(stdout));
}

function describe(enforced: Record<string, string>): string {
  return Object.entries(enforced)
    .map(([what, by]) => `${what}: ${by}`)
    .join(", ");
}
