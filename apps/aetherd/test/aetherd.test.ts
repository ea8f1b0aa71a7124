import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { isTerminal } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findAccount } from "../src/account.ts";
import { folderFault, foldersOf } from "../src/folders.ts";
import { instanceOf } from "../src/programs.ts";
import { type Daemon, type Home, namesWith, openHome, uidsOf } from "./_fixture.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");

describe.skipIf(missing)(`aetherd as root${missing ? `: ${missing}` : ""}`, () => {
  let home: Home;
  let daemon: Daemon;
  beforeAll(async () => {
    home = openHome();
    daemon = await home.start();
  }, 60_000);
  afterAll(() => home[Symbol.asyncDispose]());

  const restartsOf = (name: string) => home.state().processes.find((entry) => entry.name === name)?.restarts ?? 0;
  async function runJob(): Promise<void> {
    const job = await waitFor("a job to be accepted", () => home.client.jobs.submit({ command: ["true"] }), 15_000);
    const ended = await waitFor(
      "it to end",
      async () => {
        const now = await home.client.jobs.get(job.id);
        return isTerminal(now.state) && now;
      },
      25_000,
    );
    expect(ended).toMatchObject({ state: "succeeded", exit_code: 0 });
  }

  it("has every service up and runs a job", async () => {
    expect(await home.client.health()).toMatchObject({ status: "up" });
    expect(home.state()).toMatchObject({ pid: daemon.process.pid, state: "up", socket: home.layout.socket });
    await runJob();
  });

  it("gives root up where root is not needed, for good", () => {
    const account = findAccount();
    for (const name of ["nats", "core", "gateway"])
      expect([name, uidsOf(home.pidOf(name))]).toEqual([name, [account?.uid]]);
    for (const name of ["worker", "warden"]) expect([name, uidsOf(home.pidOf(name))]).toEqual([name, [0]]);
    const groups = readFileSync(`/proc/${home.pidOf("core")}/status`, "utf8");
    expect(groups).toMatch(/^Groups:\t\s*$/m);
    expect(groups).toMatch(/^CapEff:\t0+$/m);
  });

  it("closes folders, keys and the socket to others", () => {
    const account = findAccount();
    expect(foldersOf(home.layout, account).flatMap((folder) => folderFault(folder) ?? [])).toEqual([]);
    const seeds = namesWith(home.layout.keysDir, ".nk");
    expect(seeds).toContain("gateway.nk");
    for (const name of [...seeds, "secrets.keys"]) {
      const { mode, uid } = statSync(join(home.layout.keysDir, name));
      expect([name, mode & 0o7777, uid]).toEqual([name, 0o600, 0]);
    }
    const { mode, uid, gid } = statSync(home.layout.socket);
    expect([mode & 0o7777, uid, gid]).toEqual([0o660, 0, account?.gid]);
  });

  it("keeps secrets under a key that was read before root was given up", async () => {
    await home.client.secrets.set("key", Buffer.from("from the store"));
    const command = ["sh", "-c", "test \"$(cat /secrets/key)\" = 'from the store'"];
    const job = await home.client.jobs.submit({ command, secrets: [{ secret: "key" }] }, { wait: "20s" });
    expect(job).toMatchObject({ state: "succeeded" });
  });

  it("passes nothing of its caller's environment and descriptors on", () => {
    for (const { name, pid } of home.state().processes) {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      const names = environment.map((entry) => entry.split("=")[0]).filter(Boolean);
      expect(names.filter((key) => !/^(AETHER_|PATH$|NODE_COMPILE_CACHE$)/.test(key ?? ""))).toEqual([]);
      expect([name, environment.some((entry) => entry.startsWith("PATH=/usr/local/sbin:"))]).toEqual([name, true]);
    }
  });

  it("refuses a second daemon and says who is there", async () => {
    const { code, output } = await home.run();
    expect(code).toBe(1);
    expect(output).toContain(`aetherd with pid ${daemon.process.pid} already runs here`);
    await runJob();
  });

  it.each(["nats", "core", "gateway", "worker", "warden"])("starts %s again when it is killed", async (name) => {
    const before = { pid: home.pidOf(name), restarts: restartsOf(name), url: home.state().nats_url };
    process.kill(before.pid, "SIGKILL");
    await waitFor(`${name} to be started again`, () => restartsOf(name) > before.restarts && home.pidOf(name));
    await waitFor("everything to be up", async () => (await home.client.health()).status === "up", 20_000);
    expect(home.state().nats_url).toBe(before.url);
    await runJob();
  });

  it("is well in the doctor's eyes", async () => {
    const { code, stdout } = await home.run(["doctor", "--json"]);
    const { ok, checks } = JSON.parse(stdout);
    expect(checks.filter(({ status }: { status: string }) => status === "fail")).toEqual([]);
    expect(checks).toContainEqual(expect.objectContaining({ name: "durability", status: "ok" }));
    expect([code, ok]).toEqual([0, true]);
  });

  it("leaves nothing behind when it is told to end", async () => {
    const pids = home.processes();
    expect(pids.length).toBeGreaterThanOrEqual(5);
    expect(await daemon.end("SIGTERM")).toBe(0);
    expect(home.processes()).toEqual([]);
    expect(namesWith(home.layout.runDir, "aetherd.json")).toEqual([]);
    expect(namesWith(home.layout.runDir, "aetherd.sock").filter((name) => name === "aetherd.sock")).toEqual([]);
    const instance = instanceOf(home.layout);
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(instance);
    expect(namesWith("/run/aether-sandbox", instance)).toEqual([]);
    expect(namesWith("/sys/fs/cgroup", instance)).toEqual([]);
    for (const hierarchy of namesWith("/sys/fs/cgroup", "")) {
      expect(namesWith(join("/sys/fs/cgroup", hierarchy), instance)).toEqual([]);
    }
  });
});
