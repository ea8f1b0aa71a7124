// The sockets of agents, made by what a scripted jobs service tells on a real bus.
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { type Bus, handler, serve } from "@aether/bus";
import { followAgents, WhoAmI } from "@aether/contracts";
import { readText, requestUnix } from "@aether/http";
import { captureLog, requireBackend, startNats, type TestNats, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startGateway, toRoles } from "../src/index.ts";

const missing = requireBackend("nats");
const uid = process.getuid?.() ?? 0;
const owner = `user:${uid}`;

describe.skipIf(missing)(`the sockets of agents${missing ? `: ${missing}` : ""}`, () => {
  let nats: TestNats;
  let bus: Bus;
  let jobsBus: Bus;
  beforeAll(async () => {
    nats = await startNats();
    [bus, jobsBus] = await Promise.all([nats.connect("gateway"), nats.connect("jobs")]);
  });
  afterAll(async () => {
    for (const one of [bus, jobsBus]) await one[Symbol.asyncDispose]();
    await nats[Symbol.asyncDispose]();
  });

  /** Tells whoever follows which agents there are. */
  function createRegister() {
    let agents: { name: string; owner: string }[] = [];
    let version = 1;
    let changed = Promise.withResolvers<void>();
    return {
      set(next: typeof agents) {
        [agents, version] = [next, version + 1];
        changed.resolve();
        changed = Promise.withResolvers<void>();
      },
      serve: () =>
        serve(jobsBus, {
          service: "jobs",
          version: "0",
          description: "scripted",
          handlers: [
            handler(followAgents, {
              async handle({ version: known, wait_ms }, { closing, principal, caller }) {
                expect([principal.type, principal.id, caller]).toEqual(["Service", "gateway", "gateway"]);
                const closed = new Promise<void>((resolve) => closing.addEventListener("abort", () => resolve()));
                if (known >= version) await Promise.race([changed.promise, closed, sleep(wait_ms)]);
                return { version, agents };
              },
            }),
          ],
        }),
    };
  }

  async function start(agentsDir: string, root: string) {
    const log = captureLog();
    const gateway = await startGateway({ socketPath: join(root, "g.sock"), bus, log, ...toRoles({}) });
    gateway.serveAgents(agentsDir);
    return { log, gateway, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() };
  }

  async function whoami(socketPath: string) {
    const { status, body } = await requestUnix({ socketPath, method: "GET", path: "/v0/whoami" });
    expect(status).toBe(200);
    return WhoAmI.parse(JSON.parse(await readText(body, 10_000)));
  }

  it("come and go with their agents, and who comes by one is that agent", async () => {
    using folder = tempDir();
    const agents = join(folder.path, "agents");
    const register = createRegister();
    await using _jobs = await register.serve();
    await using _gateway = await start(agents, folder.path);
    register.set([
      { name: "scout", owner },
      { name: "other", owner: "user:4711" },
    ]);
    const [scout, other] = ["scout", "other"].map((name) => join(agents, name, "aetherd.sock")) as [string, string];
    await waitFor("both", () => existsSync(scout) && existsSync(other));
    expect(
      [statSync(agents), statSync(join(agents, "scout")), statSync(scout)].map(({ mode }) => mode & 0o777),
    ).toEqual([...[0o711, 0o700, 0o666]]);
    expect(readdirSync(join(agents, "scout"))).toEqual(["aetherd.sock"]);
    expect(await whoami(scout)).toMatchObject({
      ...{ type: "Agent", name: "agent:scout", roles: ["agent"], owner, uid, known_by: "socket", same_uid: true },
      note: `this agent has the uid of ${owner}, for whom it works: its sandbox alone keeps the two apart`,
    });
    expect(await whoami(other)).toMatchObject({ name: "agent:other", owner: "user:4711", same_uid: false, note: null });

    const kept = connect(scout);
    await once(kept, "connect");
    kept.resume();
    register.set([{ name: "other", owner: "user:4712" }]);
    await once(kept, "close");
    await waitFor("the folder to be gone", () => !existsSync(join(agents, "scout")));
    await expect(whoami(scout)).rejects.toThrow();
    await waitFor("its new owner", async () => (await whoami(other)).owner === "user:4712");
  });

  it("are gone with the gateway, and there again in the same folder with the next one", async () => {
    using folder = tempDir();
    const agents = join(folder.path, "agents");
    const register = createRegister();
    await using _jobs = await register.serve();
    register.set([{ name: "scout", owner }]);
    const socket = join(agents, "scout", "aetherd.sock");
    {
      await using _gateway = await start(agents, folder.path);
      await waitFor("the socket", () => existsSync(socket));
      chmodSync(join(agents, "scout"), 0o750); // as the worker does
    }
    expect(readdirSync(join(agents, "scout"))).toEqual([]);
    const before = statSync(join(agents, "scout"));
    mkdirSync(join(agents, "gone"));
    mkdirSync(join(agents, "Not.An.Agent"));
    await using _gateway = await start(agents, folder.path);
    await waitFor("the socket again", () => existsSync(socket));
    const { ino, mode } = statSync(join(agents, "scout"));
    expect([ino, mode]).toEqual([before.ino, before.mode]);
    expect(readdirSync(agents).sort()).toEqual(["Not.An.Agent", "scout"]);
    expect((await whoami(socket)).name).toBe("agent:scout");
  });

  it("wait for a jobs service that is away, and of one that cannot be made the others are there", async () => {
    using folder = tempDir();
    const agents = join(folder.path, "agents");
    mkdirSync(agents);
    writeFileSync(join(agents, "broken"), "a file where its folder should be");
    const register = createRegister();
    register.set([
      { name: "broken", owner },
      { name: "scout", owner },
    ]);
    await using gateway = await start(agents, folder.path);
    await waitFor("a try", () => gateway.log.lines.some(({ message }) => message.includes("is not known right now")));
    await using _jobs = await register.serve();
    await waitFor("the socket", () => existsSync(join(agents, "scout", "aetherd.sock")));
    expect(gateway.log.lines).toContainEqual(
      expect.objectContaining({ level: "error", fields: expect.objectContaining({ agent: "broken" }) }),
    );
  });
});

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
