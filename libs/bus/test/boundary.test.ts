// What the accounts, the permissions and serve() refuse, tried over real connections.
import { createId, type DecideReply, decide, type Envelope, healthOperation, submitJob } from "@aether/contracts";
import { requireBackend, startNats, type TestNats, waitFor } from "@aether/testkit";
import { headers } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Bus, handler, request, serve } from "../src/index.ts";

const missing = requireBackend("nats");
const allow: DecideReply = {
  outcome: "allow",
  decision_id: null,
  reason: "",
  policies: [],
  policy_version: "v",
  approval_id: null,
  visible: true,
  scope: "own",
};

describe.skipIf(missing)(`bus boundary${missing ? `: ${missing}` : ""}`, () => {
  let nats: TestNats;
  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(() => nats[Symbol.asyncDispose]());

  const envelope = (more: Partial<Envelope> = {}): string =>
    JSON.stringify({ request_id: createId("req"), timeout_ms: 1000, ...more });

  it("a request whose reply subject would be a key or a stream is refused, and nothing is written", async () => {
    await using policy = await nats.connect("policy");
    await using jobs = await nats.connect("jobs");
    let handled = 0;
    await using _served = await serve(policy, {
      service: "policy",
      version: "0",
      description: "",
      handlers: [
        handler(decide, {
          handle: async () => {
            handled++;
            return allow;
          },
        }),
        handler(healthOperation("policy"), { handle: async () => ({ version: "0", degraded: [] }) }),
      ],
    });
    await jobs.nats.flush();
    const head = headers();
    head.set("Aether-Envelope", envelope());
    for (const reply of ["$KV.jobs.stolen", "aether.log.v0.job", "aether.audit.v0", "aether.v0.gateway.jobs.submit"]) {
      jobs.nats.publish("aether.v0.jobs.policy.decide", "{}", { reply, headers: head });
    }
    await request(jobs, decide, decideInput(), { envelope: { request_id: createId("req") } });
    expect(handled).toBe(1);
    const stream = await jobs.jsm.streams.info("KV_jobs");
    expect(stream.state.messages).toBe(0);
  });

  it("a caller other than the gateway is itself, whatever its envelope says", async () => {
    await using jobs = await nats.connect("jobs");
    await using worker = await nats.connect("worker-host-a");
    const principals: unknown[] = [];
    const health = healthOperation("jobs");
    await using _served = await serve(jobs, {
      service: "jobs",
      version: "0",
      description: "",
      handlers: [
        handler({ ...health, name: "jobs.claim", callers: ["worker"] } as typeof health, {
          handle: async (_request, call) => {
            principals.push(call.principal);
            return { version: "0", degraded: [] };
          },
        }),
      ],
    });
    await jobs.nats.flush();
    const head = headers();
    head.set("Aether-Envelope", envelope({ principal: { type: "User", id: "0", roles: ["operator"], uid: 0 } }));
    await worker.nats.request("aether.v0.worker-host-a.jobs.claim", "{}", { headers: head, timeout: 2_000 });
    expect(principals).toEqual([{ type: "Worker", id: "host-a", roles: [] }]);
  });

  it("no user reaches another's subjects, streams, keys or inboxes", async () => {
    await using worker = await nats.connect("worker-host-a");
    await using gateway = await nats.connect("gateway");
    await using ops = await nats.connect("ops");
    await using policy = await nats.connect("policy");
    await using jobs = await nats.connect("jobs");
    await using memory = await nats.connect("memory");
    await using events = await nats.connect("events");
    await using secrets = await nats.connect("secrets");
    const refused: [Bus, string][] = [
      [worker, "aether.v0.worker-host-b.jobs.claim"],
      [worker, "aether.v0.gateway.jobs.submit"],
      [worker, "$JS.API.STREAM.NAMES"],
      [worker, "$KV.jobs.x"],
      [worker, "aether.log.v0.x"],
      [gateway, "aether.v0.jobs.policy.decide"],
      [gateway, "$KV.jobs.x"],
      [ops, "$KV.jobs.x"],
      [ops, "$JS.API.STREAM.DELETE.KV_jobs"],
      [policy, "$KV.jobs.x"],
      [jobs, "aether.events.v0.system.jobs.x"],
      [gateway, "aether.events.v0.user.x.y"],
      [events, "$KV.jobs.x"],
      [events, "$JS.API.STREAM.PURGE.EVENTS"],
      [events, "$JS.API.STREAM.MSG.DELETE.EVENTS"],
      [events, "aether.v0.gateway.jobs.submit"],
      [jobs, "aether.audit.v0"],
      [jobs, "$JS.API.STREAM.DELETE.KV_jobs"],
      [jobs, "$JS.API.STREAM.PURGE.LOGS"],
      [jobs, "aether.memory.v0.owner.mem_1"],
      [jobs, "$JS.API.STREAM.MSG.DELETE.MEMORY"],
      [policy, "$JS.API.DIRECT.GET.MEMORY"],
      [ops, "$JS.API.STREAM.MSG.DELETE.MEMORY"],
      [memory, "$JS.API.STREAM.PURGE.MEMORY"],
      [memory, "$JS.API.STREAM.DELETE.MEMORY"],
      [memory, "$JS.API.STREAM.MSG.DELETE.LOGS"],
      [memory, "$KV.jobs.x"],
      [jobs, "$KV.secrets.x"],
      [jobs, "$JS.API.DIRECT.GET.KV_secrets"],
      [policy, "$JS.API.DIRECT.GET.KV_secrets"],
      [worker, "aether.v0.gateway.secrets.set"],
      [jobs, "aether.v0.jobs.secrets.take"],
      [secrets, "$KV.jobs.x"],
      [secrets, "$JS.API.STREAM.PURGE.KV_secrets"],
      [secrets, "aether.v0.secrets.jobs.submit"],
      [ops, "$JS.API.DIRECT.GET.KV_secrets"],
    ];
    for (const [bus, subject] of refused) {
      await expect(bus.nats.request(subject, "{}", { timeout: 500 }), `${bus.user} → ${subject}`).rejects.toThrow(
        /Permissions Violation/,
      );
    }
    for (const [bus, subject] of [
      [worker, "_INBOX.jobs.>"],
      [worker, "aether.v0.*.jobs.claim"],
      [gateway, ">"],
      [policy, "_INBOX.jobs.>"],
      [ops, "$KV.>"],
    ] as [Bus, string][]) {
      const failed = Promise.withResolvers<Error>();
      bus.nats.subscribe(subject, { callback: (error) => void (error && failed.resolve(error)) });
      expect((await failed.promise).message, `${bus.user} subscribes ${subject}`).toMatch(/Permissions Violation/);
    }
  });

  it("who looks on sees what is asked, but nothing of secrets", async () => {
    await using gateway = await nats.connect("gateway");
    await using ops = await nats.connect("ops");
    const seen: string[] = [];
    ops.nats.subscribe("aether.>", { callback: (_error, message) => void seen.push(message.subject) });
    await ops.nats.flush();
    for (const operation of ["secrets.set", "secrets.delete", "jobs.submit"])
      gateway.nats.publish(`aether.v0.gateway.${operation}`, "value");
    await gateway.nats.flush();
    await waitFor("what is asked to be seen", () => seen.includes("aether.v0.gateway.jobs.submit"));
    expect(seen).toEqual(["aether.v0.gateway.jobs.submit"]);
  });

  it("disposing answers what was asked, and the next request finds nobody", async () => {
    await using jobs = await nats.connect("jobs");
    await using gateway = await nats.connect("gateway");
    const release = Promise.withResolvers<void>();
    let running = 0;
    const served = await serve(jobs, {
      service: "jobs",
      version: "0",
      description: "",
      handlers: [
        handler(healthOperation("jobs"), {
          handle: async () => {
            running++;
            await release.promise;
            return { version: "0", degraded: [] };
          },
        }),
      ],
    });
    await jobs.nats.flush();
    const principal = { type: "User" as const, id: "1", roles: [] };
    const ask = () =>
      request(gateway, healthOperation("jobs"), {}, { envelope: { request_id: createId("req"), principal } });
    const asked = Array.from({ length: 50 }, ask);
    await waitFor("fifty to run", () => running === 50);
    const disposed = served[Symbol.asyncDispose]();
    release.resolve();
    expect((await Promise.all(asked)).map(({ reply }) => reply.version)).toEqual(Array(50).fill("0"));
    await disposed;
    await expect(ask()).rejects.toMatchObject({ slug: "unavailable" });
  });

  it("answers discovery as the NATS service protocol says", async () => {
    await using jobs = await nats.connect("jobs");
    await using ops = await nats.connect("ops");
    await using _served = await serve(jobs, {
      service: "jobs",
      version: "1.2.3",
      description: "test",
      handlers: [handler(healthOperation("jobs"), { handle: async () => ({ version: "0", degraded: [] }) })],
    });
    await jobs.nats.flush();
    const ask = async (subject: string) => (await ops.nats.request(subject, "", { timeout: 1_000 })).json();
    expect(await ask("$SRV.PING.aether-jobs")).toMatchObject({
      type: "io.nats.micro.v1.ping_response",
      name: "aether-jobs",
      version: "1.2.3",
    });
    expect(await ask("$SRV.INFO")).toMatchObject({
      type: "io.nats.micro.v1.info_response",
      endpoints: [{ name: "jobs-health", queue_group: "jobs" }],
    });
    expect(await ask("$SRV.STATS.aether-jobs")).toMatchObject({
      type: "io.nats.micro.v1.stats_response",
      endpoints: [{ num_requests: 0, num_errors: 0 }],
    });
  });

  it("an answer that is not valid is a failure, never a value", async () => {
    await using policy = await nats.connect("policy");
    await using jobs = await nats.connect("jobs");
    for (const body of [
      "",
      "{}",
      '{"stream":"X","seq":1}',
      "not json",
      JSON.stringify({ ...allow, outcome: "maybe" }),
    ]) {
      const subscription = policy.nats.subscribe("aether.v0.*.policy.decide", {
        queue: "policy",
        callback: (_error, message) => void message.respond(body),
      });
      await policy.nats.flush();
      await expect(
        request(jobs, decide, decideInput(), { envelope: { request_id: createId("req") } }),
      ).rejects.toMatchObject({ slug: "unavailable" });
      subscription.unsubscribe();
      await policy.nats.flush();
    }
  });

  it("a submit without a policy that answers is refused and runs nothing", async () => {
    await using jobs = await nats.connect("jobs");
    await using gateway = await nats.connect("gateway");
    let ran = false;
    await using _served = await serve(jobs, {
      service: "jobs",
      version: "0",
      description: "",
      handlers: [
        handler(submitJob, {
          handle: async () => {
            ran = true;
            throw new Error("ran");
          },
        }),
      ],
    });
    await jobs.nats.flush();
    const principal = { type: "User" as const, id: "1", roles: [] };
    const failed = request(
      gateway,
      submitJob,
      { command: ["true"] },
      { envelope: { request_id: createId("req"), principal } },
    );
    await expect(failed).rejects.toMatchObject({ slug: "unavailable", problem: { status: 503, retry_after_ms: 1000 } });
    expect(ran).toBe(false);
  });
});

function decideInput() {
  return {
    principal: { type: "User" as const, id: "1", roles: [] },
    action: "read_job" as const,
    resource: { type: "Job" as const, id: "x", owner: null, labels: {} },
    context: {},
    record: "before" as const,
    request_id: createId("req"),
    intent_id: null,
    job_id: null,
    digest: null,
  };
}
