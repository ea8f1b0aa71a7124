// The warden ends an incarnation whose worker is frozen or dead, and none whose worker renews.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { groupPath, reapIncarnations } from "@aether/sandbox";
import { isGroupEmpty } from "@aether/sandbox/kill";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { bootNowMs, isExpired, readWardenAlive, removeDeadline, writeDeadline } from "../src/warden.ts";
import type { StandInOptions } from "./_stand-in.ts";

const reason = requireBackend("bubblewrap");
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
let counter = 0;

describe("warden", () => {
  it("says that it looks, and ends when told", async () => {
    await using place = createPlace();
    const warden = start(place, "warden");
    const first = await waitFor("a sign of life", () => readWardenAlive(place.runDir));
    expect(Math.abs(bootNowMs() - first)).toBeLessThan(5_000);
    await waitFor("the next look", () => (readWardenAlive(place.runDir) ?? 0) > first);
    warden.kill("SIGINT");
    const second = readWardenAlive(place.runDir) ?? 0;
    await waitFor("a look after Ctrl-C", () => (readWardenAlive(place.runDir) ?? 0) > second);
    warden.kill("SIGTERM");
    await waitFor("its end", () => warden.signalCode !== null);
  });

  it("never answers alive where it never was", async () => {
    await using place = createPlace();
    expect(readWardenAlive(place.runDir)).toBeNull();
  });

  it("kills nothing that a broken file names, and goes on", async () => {
    await using place = createPlace();
    mkdirSync(join(place.runDir, "warden"), { recursive: true });
    writeFileSync(join(place.runDir, "warden/half.deadline"), "123");
    writeFileSync(join(place.runDir, "warden/system.deadline"), "0 /sys/fs/cgroup/unified\n");
    writeFileSync(join(place.runDir, "warden/dots.deadline"), "0 /sys/fs/cgroup/aether-x/../../y\n");
    expect(() => writeDeadline(place.runDir, "first", 1, "aether-x/first")).toThrow(/absolute path/);
    expect(() => writeDeadline(place.runDir, "../x", 1, "/sys/fs/cgroup/aether-x/first")).toThrow(/file's name/);
    writeDeadline(place.runDir, "gone", bootNowMs(), "/sys/fs/cgroup/unified/aether-none/gone");
    start(place, "warden");
    await waitFor("the good one to be handled", () => isExpired(place.runDir, "gone"));
    expect(readdirSync(join(place.runDir, "warden")).filter((name) => name.endsWith(".expired"))).toEqual([
      "gone.expired",
    ]);
    removeDeadline(place.runDir, "gone");
    expect(isExpired(place.runDir, "gone")).toBe(false);
  });
});

describe.skipIf(reason !== null)(`warden and sandboxes${reason ? ` (skipped: ${reason})` : ""}`, () => {
  it("lets an incarnation live that renews, and ends it soon after its worker froze", async () => {
    await using place = createPlace();
    start(place, "warden");
    const worker = start(place, "stand-in", { deadlineMs: 1_500, renewMs: 100 });
    await waitFor("the job", () => !isGroupEmpty(place.group));
    const renewedUntil = bootNowMs() + 2_000;
    await waitFor("several deadlines to pass", () => bootNowMs() > renewedUntil);
    expect(isGroupEmpty(place.group)).toBe(false);
    expect(isExpired(place.runDir, place.incarnation)).toBe(false);

    worker.kill("SIGSTOP");
    const frozenAt = bootNowMs();
    await waitFor("the incarnation to expire", () => isExpired(place.runDir, place.incarnation));
    expect(isGroupEmpty(place.group)).toBe(true);
    expect(bootNowMs() - frozenAt).toBeLessThan(1_500 + 1_000);

    // It wakes up and renews, too late: it stays expired.
    worker.kill("SIGCONT");
    const wokenAt = readWardenAlive(place.runDir) ?? 0;
    await waitFor("another look", () => (readWardenAlive(place.runDir) ?? 0) > wokenAt + 300);
    expect(isExpired(place.runDir, place.incarnation)).toBe(true);
    expect(isGroupEmpty(place.group)).toBe(true);
  });

  it("ends at its first look what expired while it was down", async () => {
    await using place = createPlace();
    const first = start(place, "warden");
    await waitFor("the warden", () => readWardenAlive(place.runDir));
    first.kill("SIGKILL");
    const worker = start(place, "stand-in", { deadlineMs: 500, renewMs: 100 });
    await waitFor("the job", () => !isGroupEmpty(place.group));
    worker.kill("SIGSTOP");
    const end = bootNowMs() + 1_000;
    await waitFor("the deadline to pass unseen", () => bootNowMs() > end);
    expect(isGroupEmpty(place.group)).toBe(false);
    start(place, "warden");
    await waitFor("the incarnation to expire", () => isExpired(place.runDir, place.incarnation));
    expect(isGroupEmpty(place.group)).toBe(true);
  });

  it("catches up after it was frozen itself", async () => {
    await using place = createPlace();
    const warden = start(place, "warden");
    const worker = start(place, "stand-in", { deadlineMs: 500, renewMs: 100 });
    await waitFor("the job", () => !isGroupEmpty(place.group));
    warden.kill("SIGSTOP");
    worker.kill("SIGSTOP");
    const end = bootNowMs() + 1_000;
    await waitFor("the deadline to pass unseen", () => bootNowMs() > end);
    warden.kill("SIGCONT");
    await waitFor("the incarnation to expire", () => isExpired(place.runDir, place.incarnation));
    expect(isGroupEmpty(place.group)).toBe(true);
  });
});

interface Place extends AsyncDisposable {
  instance: string;
  incarnation: string;
  stateDir: string;
  runDir: string;
  group: string;
  children: ChildProcess[];
}

function createPlace(): Place {
  const folder = tempDir();
  const name = { instance: `warden-${process.pid}-${counter++}`, incarnation: "first" };
  const children: ChildProcess[] = [];
  const folders = { stateDir: join(folder.path, "state"), runDir: join(folder.path, "run") };
  const group = reason === null ? groupPath(name) : "";
  return {
    ...{ ...name, ...folders, group, children },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(children.map(killChild));
      if (reason === null) await reapIncarnations({ ...name, ...folders, incarnation: "none" });
      expect(existsSync(group)).toBe(false);
      folder[Symbol.dispose]();
    },
  };
}

function start(place: Place, what: "warden" | "stand-in", times?: Pick<StandInOptions, "deadlineMs" | "renewMs">) {
  const { instance, incarnation, stateDir, runDir } = place;
  const script = what === "warden" ? "../src/warden-main.ts" : "./_stand-in.ts";
  const options = JSON.stringify({ instance, incarnation, stateDir, runDir, ...times });
  const child = spawn(process.execPath, [path(script), options], {
    env: { ...process.env, AETHER_WORKER_RUN_DIR: runDir },
    stdio: "ignore",
  });
  place.children.push(child);
  return child;
}

async function killChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exited;
}
