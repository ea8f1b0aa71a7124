// Two sandboxes at once cannot see, signal or starve each other.
import { waitFor } from "@aether/testkit";
import { expect, it } from "vitest";
import { createScript, createSpec, describeDrivers, runJob } from "./_drivers.ts";

describeDrivers("two at once", (driver) => {
  it("share neither files nor processes nor ipc", async () => {
    const secret =
      "echo secret | tee /tmp/a /workspace/a /outputs/a /dev/shm/a; ipcmk -M 4096; echo up; exec sleep 1000";
    await using first = await driver().prepare(createScript(secret));
    first.release();
    await waitFor("the first job", () => String(first.stdout.read() ?? "").includes("secret"));
    const look =
      "ls -A /tmp /workspace /outputs /dev/shm | grep -c ^a; ipcs -m | grep -c '^0x'; cat /proc/[0-9]*/comm | grep -c sleep";
    expect((await runJob(driver(), createScript(look))).stdout).toBe("0\n0\n0\n");
  });

  it("cannot signal each other", async () => {
    await using first = await driver().prepare(createScript("echo up; exec sleep 1000"));
    first.release();
    await waitFor("the first job", () => first.stdout.read() !== null);
    await runJob(driver(), createScript("kill -9 -1"));
    await runJob(driver(), createScript("i=2; while [ $i -lt 3000 ]; do kill -9 $i; i=$((i+1)); done 2>/dev/null"));
    expect(first.signal("SIGTERM")).toBe(true);
    expect(await first.exited).toEqual({ exitCode: null, signal: "SIGTERM" });
  });

  it("cannot starve each other", async () => {
    const bomb = ["/bin/bash", "-c", "while :; do :; done & bomb() { bomb | bomb & }; bomb; wait"];
    await using first = await driver().prepare(createSpec({ command: bomb, limits: { cpus: 1, pids: 64 } }));
    first.release();
    first.stderr.resume();
    await waitFor("the bomb", async () => (await first.usage()).pidsPeak >= 64);
    const work = "awk 'BEGIN { for (i = 0; i < 1000000; i++); print \"done\" }'";
    const { stdout, runtimeMs } = await runJob(driver(), createScript(work, { limits: { pids: 8 } }));
    expect(stdout).toBe("done\n");
    expect(runtimeMs).toBeLessThan(5_000);
  });
});
