import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { connectBus, seedFile } from "@aether/bus";
import { isTerminal } from "@aether/contracts";
import { requireBackend, silentLog, tempDir, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { findObstacle } from "../src/folders.ts";
import { isAlive, mainFile, openHome } from "./_fixture.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const MIB = 1024 * 1024;
const stranger = 54_321;

describe.skipIf(missing)(`aetherd after trouble${missing ? `: ${missing}` : ""}`, () => {
  it("ends what a killed daemon left behind, and goes on", async () => {
    await using home = openHome();
    const first = await home.start();
    const job = await home.client.jobs.submit({ command: ["sleep", "600"], retry: { max_attempts: 1 } });
    await waitFor("the job to run", async () => (await home.client.jobs.get(job.id)).state === "running");
    const left = home.processes();
    await first.end("SIGKILL");
    expect(left.length).toBeGreaterThanOrEqual(5);

    await home.start();
    for (const pid of left) expect(isAlive(pid), `process ${pid} of the killed daemon`).toBe(false);
    const ended = await waitFor(
      "the job to be found lost",
      async () => {
        const now = await home.client.jobs.get(job.id);
        return isTerminal(now.state) && now;
      },
      40_000,
    );
    expect(ended.state).toBe("lost");
  }, 90_000);

  it("ends while it starts", async () => {
    await using home = openHome();
    const starting = home.run();
    await waitFor(
      "the core to be started",
      () => existsSync(home.layout.stateFile) && home.state().processes.length > 2,
    );
    process.kill(home.state().pid, "SIGTERM");
    const { code, output } = await starting;
    expect([code, output]).toEqual([128 + 15, ""]);
    expect(home.processes()).toEqual([]);
  });

  it("starts nats-server anew when the disk has failed it a write", async () => {
    const folder = tempDir();
    const natsDir = join(folder.path, "data/nats");
    mkdirSync(natsDir, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", natsDir]);
    try {
      await using home = openHome(folder.path);
      await home.start({ env: { AETHER_STORE_SIZE: "256MiB" } });
      const restarts = () => home.state().processes.find(({ name }) => name === "nats")?.restarts ?? 0;
      const server = home.state().nats_url ?? "";
      await using bus = await connectBus({
        ...{ server, user: "jobs", seedFile: seedFile(home.layout.keysDir, "jobs"), log: silentLog },
      });
      const write = () => bus.js.publish("aether.log.v0.filler", Buffer.alloc(100 * 1024), { timeout: 1000 });
      const filler = join(natsDir, "filler");
      const { bavail, bsize } = statfsSync(natsDir);
      writeFileSync(filler, Buffer.alloc(bavail * bsize - MIB));
      await waitFor(
        "nats-server to be started anew",
        async () => {
          await write().catch(() => {}); // to fail is what it is for
          return restarts() > 0;
        },
        60_000,
      );
      rmSync(filler);
      await waitFor("a write to succeed again", write, 60_000);
    } finally {
      execFileSync("umount", ["-l", natsDir]);
      folder[Symbol.dispose]();
    }
  }, 150_000);

  it("refuses a nats-server that is too old, and names the mend", async () => {
    await using home = openHome();
    using tools = tempDir();
    chmodSync(tools.path, 0o755);
    const old = join(tools.path, "nats-server");
    writeFileSync(old, "#!/bin/sh\n[ \"$1\" = --version ] && echo 'nats-server: v2.10.27' || exit 1\n", {
      mode: 0o755,
    });
    const { code, output } = await home.run([], { env: { AETHER_NATS_SERVER: old } });
    expect([code, output]).toEqual([1, expect.stringContaining("2.10.27; 2.15.1 or newer is needed")]);
    const gone = await home.run([], { env: { AETHER_NATS_SERVER: join(tools.path, "none") } });
    expect([gone.code, gone.output]).toEqual([1, expect.stringContaining("install nats-server 2.15.1")]);
  });

  it("refuses a home that its own user cannot enter", async () => {
    using closed = tempDir();
    await using home = openHome(join(closed.path, "home"));
    const { code, output } = await home.run();
    expect([code, output]).toEqual([1, expect.stringContaining(`cannot enter ${closed.path}`)]);
  });
});

const hidden = missing ?? findObstacle(mainFile, { uid: stranger, gid: stranger });

describe.skipIf(hidden)(`aetherd as an ordinary user${hidden ? `: ${hidden}` : ""}`, () => {
  it("runs without switching users, and a job ends or is refused with its cause", async () => {
    using folder = tempDir();
    chmodSync(dirname(folder.path), 0o1777);
    chownSync(folder.path, stranger, stranger);
    await using home = openHome(folder.path);
    await home.start({ uid: stranger, env: { HOME: folder.path, NODE_COMPILE_CACHE: "" } });
    const job = await home.client.jobs.submit({ command: ["true"] });
    const ended = await waitFor("the job to end", async () => {
      const now = await home.client.jobs.get(job.id);
      return isTerminal(now.state) && now;
    });
    if (ended.state !== "succeeded") {
      expect(ended).toMatchObject({ state: "failed", reason: "sandbox_unavailable", message: expect.any(String) });
    }
    const doctor = await home.run(["doctor"], { uid: stranger, env: { HOME: folder.path, NODE_COMPILE_CACHE: "" } });
    expect(doctor.code).toBe(ended.state === "succeeded" ? 0 : 1);
    expect(doctor.output).toContain(ended.state === "succeeded" ? "bubblewrap works" : "mend: ");
  });
});
