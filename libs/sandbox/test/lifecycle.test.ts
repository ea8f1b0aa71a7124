// From prepare to dispose: nothing runs before its release, how an end is reported, and that the whole tree ends.
import { text } from "node:stream/consumers";
import { waitFor } from "@aether/testkit";
import { expect, it } from "vitest";
import { createScript, createSpec, describeDrivers, runJob } from "./_drivers.ts";

describeDrivers("lifecycle", (driver) => {
  it("probes by running a real sandbox", async () => {
    const { usable, problems, enforced } = await driver().probe();
    expect(problems).toEqual([]);
    expect(usable).toBe(true);
    expect(enforced?.memory).toMatch(/^cgroup[12]$/);
  });

  it("runs nothing of a sandbox that is disposed before its release", async () => {
    const sandbox = await driver().prepare(createScript("echo ran"));
    const output = text(sandbox.stdout);
    expect(sandbox.signal("SIGTERM")).toBe(false);
    await sandbox[Symbol.asyncDispose]();
    expect(await output.catch(() => "")).toBe("");
    expect((await sandbox.exited).exitCode).toBeNull();
  });

  it.each([
    ["exit 0", { exitCode: 0, signal: null }],
    ["exit 3", { exitCode: 3, signal: null }],
    ["exit 125", { exitCode: 125, signal: null }],
    ["kill -SEGV $$", { exitCode: null, signal: "SIGSEGV" }],
    ["kill -ABRT $$", { exitCode: null, signal: "SIGABRT" }],
    ["exit 255", { exitCode: 255, signal: null }],
  ])("reports the end of `%s`", async (script, exit) => {
    expect((await runJob(driver(), createScript(script))).exit).toEqual(exit);
  });

  it("ends as a shell does when the command cannot be executed", async () => {
    const missing = await runJob(driver(), createSpec({ command: ["no-such-command"] }));
    expect(missing.exit).toEqual({ exitCode: 127, signal: null });
    expect(missing.stderr).toContain("no-such-command: No such file or directory");
    const denied = await runJob(driver(), createSpec({ command: ["/etc/passwd"] }));
    expect(denied.exit).toEqual({ exitCode: 126, signal: null });
    expect(denied.stderr).toContain("Permission denied");
  });

  it("feeds stdin and closes it", async () => {
    const stdin = Buffer.alloc(128 * 1024, "0123456789abcdef");
    const { stdout } = await runJob(driver(), createScript("wc -c; tail -c 4 /dev/stdin", { stdin }));
    expect(stdout.trim()).toBe(String(stdin.length));
    expect((await runJob(driver(), createScript("cat; echo end", { stdin: Buffer.from("few\n") }))).stdout).toBe(
      "few\nend\n",
    );
    expect((await runJob(driver(), createSpec({ command: ["wc", "-c"] }))).stdout).toBe("0\n");
  });

  it("holds back a writer that nobody reads, and loses nothing", async () => {
    await using sandbox = await driver().prepare(createScript("head -c 20000000 /dev/zero; echo written >&2"));
    sandbox.release();
    await waitFor("the first output", () => sandbox.stdout.readableLength > 0);
    expect(sandbox.stdout.readableLength).toBeLessThan(1024 * 1024);
    let bytes = 0;
    for await (const chunk of sandbox.stdout) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(20_000_000);
    expect(await text(sandbox.stderr)).toBe("written\n");
  });

  it("signals the main process only", async () => {
    const script = "trap 'echo caught; exit 5' TERM; sleep 1000 & echo ready; wait";
    await using sandbox = await driver().prepare(createScript(script));
    sandbox.release();
    await waitFor("the trap", () => sandbox.stdout.read() !== null);
    expect(sandbox.signal("SIGTERM")).toBe(true);
    expect(await sandbox.exited).toEqual({ exitCode: 5, signal: null });
    expect(sandbox.signal("SIGTERM")).toBe(false);
    expect(await text(sandbox.stdout)).toBe("caught\n");
  });

  it("delivers a signal that comes right after the release", async () => {
    await using sandbox = await driver().prepare(createSpec({ command: ["sleep", "1000"] }));
    sandbox.release();
    expect(sandbox.signal("SIGTERM")).toBe(true);
    expect(await sandbox.exited).toEqual({ exitCode: null, signal: "SIGTERM" });
  });

  it("empties a tree that forks twice, makes sessions and ignores signals", async () => {
    const script = `trap '' TERM INT HUP
      (setsid sh -c 'trap "" TERM INT HUP; setsid sleep 1000 & sleep 1000' &)
      echo ready; while :; do sleep 1000; done`;
    await using sandbox = await driver().prepare(createScript(script));
    sandbox.release();
    await waitFor("the tree", () => sandbox.stdout.read() !== null);
    await waitFor("all its processes", async () => (await sandbox.usage()).pidsPeak >= 4);
    sandbox.signal("SIGTERM");
    expect(await sandbox.empty(50)).toBe(false);
    sandbox.kill();
    expect(await sandbox.empty(1_000)).toBe(true);
    expect(await sandbox.exited).toEqual({ exitCode: null, signal: "SIGKILL" });
  });

  it("never shows what was on a used disk", async () => {
    for (let round = 0; round < 6; round++) {
      const fill =
        "ls -A /workspace /outputs | grep -v : | grep .; mkdir -p a/b; ln -s /etc a/l; echo x > a/b/f; chmod 0 a";
      expect((await runJob(driver(), createScript(fill))).stdout).toBe("");
    }
  });

  it("counts what the tree used", async () => {
    const { usage } = await runJob(
      driver(),
      createScript("awk 'BEGIN { for (i = 0; i < 2000000; i++); }'; sync -f /workspace"),
    );
    expect(usage.cpuMs).toBeGreaterThan(15);
    expect(usage.memoryPeakBytes).toBeGreaterThan(500_000);
    expect(usage.pidsPeak).toBeGreaterThanOrEqual(2);
    expect(usage.oomKills).toBe(0);
  });
});
