// Starting and ending: `up` in both ways, `down`, a start that fails, nobody there, and the demo.
import { chmodSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { missingBackend, run, start, waitForOutput } from "./_cli.ts";

const missing = missingBackend();
const longMs = 90_000;

/** Processes that belong to what lives in a folder. */
function processesOf(folder: string): string[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const text = readFileSync(`/proc/${pid}/cmdline`, "utf8") + readFileSync(`/proc/${pid}/environ`, "utf8");
      return text.includes(folder) ? [text.replaceAll("\0", " ").slice(0, 200)] : [];
    } catch {
      return []; // it has ended meanwhile
    }
  });
}

function openFolder() {
  const folder = tempDir();
  chmodSync(folder.path, 0o755); // the services run as another user
  return folder;
}

it("what is not running is said to be so, with what starts it", async () => {
  using folder = openFolder();
  const { code, stderr } = await run(["ps", "--home", folder.path]);
  expect(code).toBe(6);
  expect(stderr).toContain("aether up");
  expect(await run(["run", "--socket", join(folder.path, "no.sock"), "true"])).toMatchObject({ code: 125 });
  expect(await run(["down", "--home", folder.path])).toMatchObject({ code: 0 });
  expect(await run(["ps", "--home", `/${"x".repeat(120)}`])).toMatchObject({ code: 2 });
});

describe.skipIf(missing)(`aether up${missing ? `: ${missing}` : ""}`, () => {
  it(
    "in the foreground goes on until Ctrl-C and leaves nothing behind",
    async () => {
      using folder = openFolder();
      const up = start(["up", "--home", folder.path]);
      await waitForOutput(up, "Ctrl-C ends it");
      expect(await run(["run", "--home", folder.path, "echo", "hi"])).toMatchObject({ code: 0, stdout: "hi\n" });
      expect(await run(["up", "-d", "--home", folder.path])).toMatchObject({ code: 5 });
      up.child.kill("SIGINT");
      const { code, stdout, stderr } = await up.ended;
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(/Aether is up after .*\n(.*\n)*ended\n$/);
      expect(processesOf(folder.path)).toEqual([]);
    },
    longMs,
  );

  it(
    "in the foreground says so when aetherd dies",
    async () => {
      using folder = openFolder();
      const up = start(["up", "--home", folder.path]);
      await waitForOutput(up, "Ctrl-C ends it");
      const { pid }: { pid: number } = JSON.parse(readFileSync(join(folder.path, "run/aetherd.json"), "utf8"));
      process.kill(pid, "SIGKILL");
      const { code, stderr } = await up.ended;
      expect(code).toBe(7);
      expect(stderr).toContain("aetherd ended (SIGKILL)");
      expect(await run(["up", "-d", "--home", folder.path])).toMatchObject({ code: 0 });
      expect(await run(["down", "--home", folder.path])).toMatchObject({ code: 0, stdout: "ended\n" });
      await waitFor("everything to be gone", () => processesOf(folder.path).length === 0);
    },
    longMs,
  );

  it(
    "shows why it cannot start, and leaves nothing running",
    async () => {
      using folder = openFolder();
      const env = { AETHER_NATS_SERVER: join(folder.path, "no-such-server") };
      const { code, stderr } = await run(["up", "-d", "--home", folder.path], { env });
      expect(code).toBe(6);
      expect(stderr).toMatch(/aetherd ended while it started/);
      expect(stderr).toContain("no-such-server");
      expect(stderr).toContain("aether doctor");
      expect(processesOf(folder.path)).toEqual([]);
    },
    longMs,
  );
});

describe.skipIf(missing)(`aether demo${missing ? `: ${missing}` : ""}`, () => {
  it(
    "shows every step and leaves nothing behind",
    async () => {
      using cache = openFolder();
      const { code, stdout, stderr } = await run(["demo"], { env: { XDG_CACHE_HOME: cache.path } });
      expect(stderr).toBe("");
      for (const text of [
        /first job accepted after \d+\.\d+ s/,
        /gateway +up/,
        /\d+ lines, \d+ words, sum \d+/,
        /exit code 0, .*CPU .*peak memory/,
        /lines\.txt +art_\w+ +\d+\n/,
        /found: house\.md#L5-L7 +fresh/,
        /house\.md#L7-L9 +moved/,
        /house\.md#L5-L7 +stale/,
        /denied by limit-timeout/,
        /start_job .* allow by/,
        /running → succeeded/,
        /submit_job .* deny by limit-timeout/,
        /chain is intact/,
        /Every step held\.\n$/,
      ]) {
        expect(stdout).toMatch(text);
      }
      expect(code).toBe(0);
      expect(readdirSync(join(cache.path, "aether")).filter((name) => name.startsWith("demo-"))).toEqual([]);
      expect(processesOf(cache.path)).toEqual([]);
    },
    longMs,
  );

  it(
    "ends what it started on Ctrl-C",
    async () => {
      using cache = openFolder();
      const demo = start(["demo"], { env: { XDG_CACHE_HOME: cache.path } });
      await waitForOutput(demo, "Start");
      demo.child.kill("SIGINT");
      expect((await demo.ended).code).toBe(130);
      expect(processesOf(cache.path)).toEqual([]);
    },
    longMs,
  );

  it(
    "with --keep is left running, and is one JSON document with --json",
    async () => {
      using cache = openFolder();
      const { code, stdout, stderr } = await run(["demo", "--keep", "--json"], { env: { XDG_CACHE_HOME: cache.path } });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const found: Record<string, unknown> & { home: string } = JSON.parse(stdout);
      expect(found).toMatchObject({
        job: { state: "succeeded" },
        denial: { status: 403 },
        verdict: { state: "intact" },
      });
      expect(await run(["down", "--home", found.home])).toMatchObject({ code: 0, stdout: "ended\n" });
      expect(existsSync(found.home)).toBe(true);
    },
    longMs,
  );
});
