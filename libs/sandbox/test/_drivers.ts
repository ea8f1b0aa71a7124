// Runs one suite over every driver, each with a host of its own that must be as it was when the suite is over.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { type Driver, type Exit, type SandboxSpec, startBubblewrapDriver, type Usage } from "../src/index.ts";

export const MIB = 1024 * 1024;

/** Where a driver under test keeps its things. */
export interface Place {
  instance: string;
  incarnation: string;
  stateDir: string;
  runDir: string;
}

const drivers = [{ name: "bubblewrap" as const, start: startBubblewrapDriver }];
let counter = 0;

/** A name that no other test on this host uses. */
export function uniqueName(prefix: string): string {
  return `${prefix}-${process.pid}-${counter++}`;
}

/** Describes `title` once for each driver; a driver that cannot run here is reported as skipped with its reason. */
export function describeDrivers(title: string, define: (driver: () => Driver, place: Place) => void): void {
  for (const { name, start } of drivers) {
    const reason = requireBackend(name);
    describe.skipIf(reason !== null)(`${name}: ${title}${reason ? ` (skipped: ${reason})` : ""}`, () => {
      const folder = tempDir();
      const place = createPlace(folder.path);
      let driver: Driver;
      beforeAll(async () => {
        driver = await start(place);
      });
      afterAll(async () => {
        await driver[Symbol.asyncDispose]();
        await expectNothingLeft(place);
        folder[Symbol.dispose]();
      });
      define(() => driver, place);
    });
  }
}

export function createPlace(folder: string): Place {
  return {
    instance: uniqueName("test"),
    incarnation: "first",
    stateDir: join(folder, "state"),
    runDir: join(folder, "run"),
  };
}

/** A small job; every part can be replaced. */
export function createSpec(change: Partial<Omit<SandboxSpec, "limits">> & { limits?: Partial<SandboxSpec["limits"]> }) {
  const limits = { cpus: 2, memoryBytes: 64 * MIB, pids: 32, diskBytes: 1024 * MIB, readBps: null, writeBps: null };
  return {
    ...{ id: uniqueName("job"), command: ["/bin/true"], workingDir: "/workspace", stdin: null },
    ...{ env: { PATH: "/usr/bin:/bin" }, ...change, limits: { ...limits, ...change.limits } },
  } satisfies SandboxSpec;
}

/** A job that is a shell script. */
export function createScript(script: string, change: Parameters<typeof createSpec>[0] = {}): SandboxSpec {
  return createSpec({ command: ["/bin/sh", "-c", script], ...change });
}

export interface Finished {
  stdout: string;
  stderr: string;
  exit: Exit;
  usage: Usage;
  runtimeMs: number;
}

/** Runs a job to its end. */
export async function runJob(driver: Driver, spec: SandboxSpec): Promise<Finished> {
  await using sandbox = await driver.prepare(spec);
  const startedAt = performance.now();
  sandbox.release();
  const [stdout, stderr, exit] = await Promise.all([text(sandbox.stdout), text(sandbox.stderr), sandbox.exited]);
  const runtimeMs = performance.now() - startedAt;
  expect(await sandbox.empty(5_000)).toBe(true);
  return { stdout, stderr, exit, usage: await sandbox.usage(), runtimeMs };
}

/** No cgroup, mount, loop device or folder of the instance. */
export async function expectNothingLeft({ instance, stateDir }: Pick<Place, "instance" | "stateDir">): Promise<void> {
  expect(listGroupsOf(instance)).toEqual([]);
  expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(`/${instance}/`);
  expect(listIfThere("/run/aether-sandbox")).not.toContain(instance);
  expect(listIfThere(join(stateDir, "disks"))).toEqual([]);
  // The kernel frees a loop device when the last copy of its mount in any namespace is gone.
  await waitFor("loop devices to be freed", () => !listLoopFiles().some((file) => file.startsWith(stateDir)));
}

/** The instance's folders in every hierarchy. */
export function listGroupsOf(instance: string): string[] {
  const top = "/sys/fs/cgroup";
  return ["", ...listIfThere(top)]
    .map((hierarchy) => join(top, hierarchy, `aether-${instance}`))
    .filter((path) => listIfThere(path).length > 0);
}

function listLoopFiles(): string[] {
  return listIfThere("/sys/block").flatMap((name) => {
    try {
      return [readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8").trim()];
    } catch {
      return [];
    }
  });
}

function listIfThere(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
