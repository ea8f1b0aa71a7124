// The process that makes sandboxes is killed at every stage: the command is never released, or dies; and whatever is left
// behind is removed by the next incarnation, without touching another instance.
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { groupPath, reapIncarnations, startBubblewrapDriver } from "../src/index.ts";
import { emptyGroup, isGroupEmpty, killGroup, killProcesses } from "../src/kill.ts";
import { createPlace, createScript, expectNothingLeft, listGroupsOf, type Place, runJob } from "./_drivers.ts";

const reason = requireBackend("bubblewrap");
const spawner = fileURLToPath(new URL("./_spawner.ts", import.meta.url));

describe.skipIf(reason !== null)(`bubblewrap: its maker dies${reason ? ` (skipped: ${reason})` : ""}`, () => {
  it("before the arguments are sent: bwrap ends by itself", async () => {
    await using stage = await reach("arguments");
    expect(listPrograms(stage.group)).toEqual(["bwrap"]);
    await stage.kill();
    await waitFor("the group to be empty", () => isGroupEmpty(stage.group));
  });

  it("before bwrap could tie itself to it: nothing is executed, and what is left dies with the group", async () => {
    await using stage = await reach("orphaned");
    await stage.kill();
    process.kill(stage.bwrap, "SIGCONT");
    // bwrap cannot report to its dead maker and ends, while its child still waits to be told its user.
    await waitFor("bwrap to end", () => !listProcesses(stage.group).includes(stage.bwrap));
    expect(listPrograms(stage.group)).not.toContain("sleep");
    killGroup(stage.group);
    await waitFor("the group to be empty", () => isGroupEmpty(stage.group));
  });

  it("before the release: nothing is executed", async () => {
    await using stage = await reach("prepared");
    expect(new Set(listPrograms(stage.group))).toEqual(new Set(["bwrap"]));
    await stage.kill();
    await waitFor("the group to be empty", () => isGroupEmpty(stage.group));
  });

  it("after the release: the tree dies", async () => {
    await using stage = await reach("released");
    await waitFor("the job", () => listPrograms(stage.group).filter((name) => name === "sleep").length === 2);
    await stage.kill();
    await waitFor("the group to be empty", () => isGroupEmpty(stage.group));
  });

  it("while it is frozen: one write ends everything of the incarnation", async () => {
    await using stage = await reach("released");
    await waitFor("the job", () => listPrograms(stage.group).includes("sleep"));
    process.kill(stage.pid, "SIGSTOP");
    expect(killGroup(stage.group)).toBe(true);
    await waitFor("the group to be empty", () => isGroupEmpty(stage.group));
  });

  it("is ended without cgroup.kill on an old kernel too", async () => {
    await using stage = await reach("released");
    await waitFor("the job", () => listPrograms(stage.group).includes("sleep"));
    expect(killProcesses(stage.group)).toBe(true);
    expect(await emptyGroup(stage.group, 2_000)).toBe(true);
    expect(killGroup("/sys/fs/cgroup/unified/aether-none")).toBe(false);
  });

  it("leaves what the next incarnation removes, and nothing of another instance", async () => {
    using folder = tempDir();
    const other = createPlace(folder.path);
    await using neighbour = await startBubblewrapDriver(other);
    await using sandbox = await neighbour.prepare(createScript("echo up; exec sleep 1000"));
    sandbox.release();
    await using stage = await reach("released");
    await waitFor("the job", () => listPrograms(stage.group).includes("sleep"));
    process.kill(stage.pid, "SIGSTOP");
    expect(listGroupsOf(stage.place.instance).length).toBeGreaterThan(0);
    expect(await reapIncarnations({ ...stage.place, incarnation: "second" })).toEqual(["first"]);
    await expectNothingLeft(stage.place);
    // The frozen maker of the first incarnation has no group left to start anything in.
    const next = { ...stage.place, incarnation: "second" };
    await using driver = await startBubblewrapDriver(next);
    expect(await reapIncarnations(next)).toEqual([]);
    expect((await runJob(driver, createScript("echo again"))).stdout).toBe("again\n");
    expect(await sandbox.empty(0)).toBe(false);
  });
});

interface Stage extends AsyncDisposable {
  place: Place;
  group: string;
  pid: number;
  bwrap: number;
  kill(): Promise<void>;
}

async function reach(stage: string): Promise<Stage> {
  const folder = tempDir();
  const place = createPlace(folder.path);
  const child = spawn(process.execPath, [spawner, stage, JSON.stringify(place)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  await waitFor(`the stage "${stage}"`, () => output.includes("reached"));
  const kill = () => killChild(child);
  return {
    ...{ place, kill, group: groupPath(place), pid: child.pid ?? 0, bwrap: Number.parseInt(output, 10) },
    [Symbol.asyncDispose]: async () => {
      await kill();
      await reapIncarnations({ ...place, incarnation: "none" });
      await expectNothingLeft(place);
      folder[Symbol.dispose]();
    },
  };
}

async function killChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exited;
}

function listProcesses(group: string): number[] {
  const own = readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
  const below = readdirSync(group, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...own, ...below.flatMap((entry) => listProcesses(join(group, entry.name)))];
}

/** What each process of a tree executes. */
function listPrograms(group: string): string[] {
  return listProcesses(group).flatMap((pid) => {
    try {
      return [readlinkSync(`/proc/${pid}/exe`).split("/").at(-1) ?? ""];
    } catch {
      return [];
    }
  });
}
