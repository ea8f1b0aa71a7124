// Every limit holds against a job that tries to pass it, and the host lives.
import { text } from "node:stream/consumers";
import { waitFor } from "@aether/testkit";
import { expect, it } from "vitest";
import { NoRoom } from "../src/index.ts";
import { createScript, createSpec, describeDrivers, MIB, runJob, uniqueName } from "./_drivers.ts";

const MB = 1_000_000;

describeDrivers("limits", (driver) => {
  it("ends a memory bomb and counts the kill", async () => {
    const spec = createSpec({ command: ["tail", "/dev/zero"], limits: { memoryBytes: 32 * MIB } });
    const { exit, usage } = await runJob(driver(), spec);
    expect(exit).toEqual({ exitCode: null, signal: "SIGKILL" });
    expect(usage.oomKills).toBe(1);
    expect(usage.memoryPeakBytes).toBeGreaterThan(30 * MIB);
    expect(usage.memoryPeakBytes).toBeLessThanOrEqual(32 * MIB);
  });

  it("leaves the result to the main process when only its child was killed", async () => {
    const spec = createScript("tail /dev/zero; exit 0", { limits: { memoryBytes: 32 * MIB } });
    const { exit, usage } = await runJob(driver(), spec);
    expect(exit).toEqual({ exitCode: 0, signal: null });
    expect(usage.oomKills).toBe(1);
  });

  it("charges /tmp to the memory", async () => {
    const fill = "dd if=/dev/zero of=/tmp/a bs=1M count=100; dd if=/dev/zero of=/dev/shm/b bs=1M count=100";
    const { usage } = await runJob(driver(), createScript(fill, { limits: { memoryBytes: 24 * MIB } }));
    expect(usage.memoryPeakBytes).toBeLessThanOrEqual(24 * MIB);
    expect(usage.memoryPeakBytes).toBeGreaterThan(20 * MIB);
  });

  it("holds a fork bomb until it is killed", async () => {
    const bomb = ["/bin/bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 1000"];
    await using sandbox = await driver().prepare(createSpec({ command: bomb, limits: { pids: 24 } }));
    sandbox.release();
    sandbox.stderr.resume();
    await waitFor("the bomb to reach its limit", async () => (await sandbox.usage()).pidsPeak >= 24);
    expect((await runJob(driver(), createScript("echo alive"))).stdout).toBe("alive\n");
    sandbox.kill();
    expect(await sandbox.empty(1_000)).toBe(true);
    expect((await sandbox.usage()).pidsPeak).toBe(24);
  });

  it("answers ENOSPC at the disk's size, over both folders and with unlinked files", async () => {
    const script = `
      exec 3> /workspace/unlinked; rm /workspace/unlinked
      dd if=/dev/zero bs=1M count=10 >&3 && echo first
      dd if=/dev/zero of=/outputs/b bs=1M count=10 || echo full`;
    const { stdout, stderr } = await runJob(driver(), createScript(script, { limits: { diskBytes: 16 * MIB } }));
    expect(stdout).toBe("first\nfull\n");
    expect(stderr).toContain("No space left on device");
  });

  it("refuses a disk that the store could not hold", async () => {
    const spec = createSpec({ limits: { diskBytes: 2 ** 50 } });
    await expect(driver().prepare(spec)).rejects.toThrow(NoRoom);
    await expect(driver().prepare(spec)).rejects.toThrow(/no room for a disk/);
  });

  it.skipIf(process.getuid?.() !== 0)(
    "counts a disk as taken for as long as it is held, however empty it is",
    async () => {
      const free = () => driver().freeDiskBytes() ?? 0;
      // Others write to this disk as well: what counts is far more than they do.
      const spec = createSpec({ limits: { diskBytes: 4096 * MIB } });
      const before = free();
      await using sandbox = await driver().prepare(spec);
      expect(before - free()).toBeGreaterThan(3072 * MIB);
      await sandbox[Symbol.asyncDispose]();
      await waitFor("the room to be back", () => before - free() < 1024 * MIB);
    },
  );

  it("gives half a core for cpus 0.5", async () => {
    const spin = createSpec({ command: ["awk", "BEGIN { for (i = 0; i < 50000000; i++); }"], limits: { cpus: 0.5 } });
    // Another load on this host can only make it less; the best of three is the limit's.
    const shares: number[] = [];
    for (let round = 0; round < 3 && !(Math.max(0, ...shares) > 0.45); round++) {
      const { usage, runtimeMs } = await runJob(driver(), spin);
      spin.id = uniqueName("job");
      shares.push(usage.cpuMs / runtimeMs);
    }
    expect(Math.max(...shares)).toBeGreaterThan(0.45);
    expect(Math.max(...shares)).toBeLessThan(0.55);
  });

  it("holds read_bps for direct reads and says what is not throttled", async () => {
    const rate = 8 * MB;
    const read = "dd of=/dev/null bs=256k count=64 iflag=direct";
    const script = `dd if=/dev/zero of=f bs=256k count=64 oflag=direct; ${read} if=f 2>&1 | tail -1`;
    await using sandbox = await driver().prepare(createScript(script, { limits: { readBps: rate } }));
    sandbox.release();
    sandbox.stderr.resume();
    const line = await text(sandbox.stdout);
    const [, bytes = 0, seconds = 1] = (/^(\d+) bytes.* ([\d.]+) s,/.exec(line) ?? []).map(Number);
    expect(bytes / seconds / rate).toBeGreaterThan(0.85);
    expect(bytes / seconds / rate).toBeLessThan(1.15);
    expect((await sandbox.usage()).ioReadBytes).toBeGreaterThanOrEqual(64 * 256 * 1024);
    expect(sandbox.enforced.io).toMatch(/^cgroup2$|^cgroup1; buffered writes are not throttled$/);
  });

  it("says none where no io limit was asked for", async () => {
    await using sandbox = await driver().prepare(createSpec({}));
    expect(sandbox.enforced).toMatchObject({ io: "none", disk: "loop" });
  });

  it("refuses more variables than bubblewrap takes, and leaves nothing", async () => {
    const env = Object.fromEntries(Array.from({ length: 4_000 }, (_, index) => [`V${index}`, "x"]));
    await expect(driver().prepare(createSpec({ env }))).rejects.toThrow(/too many entries/);
  });
});
