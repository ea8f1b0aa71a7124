import {
  addEntry,
  createId,
  type DecideReply,
  type DecideRequest,
  decide,
  getJob,
  killJob,
  listAudit,
  type Operation,
  ProblemError,
  submitJob,
} from "@aether/contracts";
import { requireBackend, startNats, type TestNats, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { type Bus, handler, openBucket, RevisionConflict, request, serve, startTail } from "../src/index.ts";

const missing = requireBackend("nats");
describe.skipIf(missing)(`bus${missing ? `: ${missing}` : ""}`, () => {
  let nats: TestNats;
  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(async () => {
    await nats[Symbol.asyncDispose]();
  });

  it("bucket writes are compare-and-set", async () => {
    await using bus = await nats.connect("jobs");
    const bucket = openBucket(bus, "jobs", z.object({ n: z.int() }));
    const first = await bucket.create("a", { n: 1 });
    await expect(bucket.create("a", { n: 9 })).rejects.toBeInstanceOf(RevisionConflict);
    const second = await bucket.update("a", { n: 2 }, first);
    await expect(bucket.update("a", { n: 3 }, first)).rejects.toBeInstanceOf(RevisionConflict);
    expect(await bucket.get("a")).toEqual({ value: { n: 2 }, revision: second });
    await bucket.remove("a", second);
    expect(await bucket.get("a")).toBeNull();
    expect(await bucket.get("b")).toBeNull();
    await bucket.create("a", { n: 5 });
  });

  it("tail gives every write in order and goes on after the server was killed", async () => {
    await using bus = await nats.connect("jobs");
    const bucket = openBucket(bus, "workers", z.object({ n: z.int() }));
    const seen: number[] = [];
    await using _tail = startTail(bus, {
      stream: "KV_workers",
      subject: "$KV.workers.>",
      from: 1,
      onMessages: (messages) =>
        void seen.push(
          ...messages.map(
            (message) => (JSON.parse(new TextDecoder().decode(message.data ?? new Uint8Array())) as { n: number }).n,
          ),
        ),
    });
    for (let n = 0; n < 20; n++) await bucket.create(`k${n}`, { n });
    await waitFor("twenty writes", () => seen.length === 20);
    await nats.restart();
    await waitFor("the connection to come back", () => bus.connected && bus.reconnects > 0);
    await waitFor("a write to go through", () => bucket.create("after", { n: 99 }).catch(() => null));
    await waitFor("the write after the restart", () => seen.includes(99));
    expect(seen.slice(0, 20)).toEqual([...Array(20).keys()]);
  });

  it("a request without a responder is unavailable, at once", async () => {
    await using gateway = await nats.connect("gateway");
    const failed = await request(gateway, getJob, { id: createId("job") }, { envelope: envelope() }).catch(
      (error: unknown) => error,
    );
    expect(failed).toBeInstanceOf(ProblemError);
    expect((failed as ProblemError).slug).toBe("unavailable");
  });

  it("serve asks policy, loads the owner, and denies what policy denies", async () => {
    await using bus = await nats.connect("jobs");
    await using gateway = await nats.connect("gateway");
    const asked: unknown[] = [];
    await using _served = await serve(bus, {
      service: "jobs",
      version: "0",
      description: "test",
      handlers: [
        handler(killJob, {
          load: async ({ id }) => ({ resource: { id, owner: "user:7", labels: {} }, value: 1 }),
          handle: async () => {
            throw new Error("must not run");
          },
        }),
      ],
      decide: async (input) => {
        asked.push(input);
        return {
          outcome: "deny",
          decision_id: null,
          reason: "because",
          policies: ["p"],
          policy_version: "v",
          approval_id: null,
          visible: true,
          scope: "own",
        };
      },
    });
    await bus.nats.flush();
    const failed = (await request(gateway, killJob, { id: createId("job") }, { envelope: envelope() }).catch(
      (error: unknown) => error,
    )) as ProblemError;
    expect(failed.slug).toBe("policy-denied");
    expect(failed.problem.decision).toEqual({ id: null, outcome: "deny", reason: "because", policies: ["p"] });
    expect(asked[0]).toMatchObject({
      action: "kill_job",
      resource: { type: "Job", owner: "user:7" },
      principal: { id: "1000" },
    });
  });

  it("what needs a person's yes says under which approval, and is asked about by its digest and preview", async () => {
    await using bus = await nats.connect("memory");
    await using gateway = await nats.connect("gateway");
    const asked: DecideRequest[] = [];
    const answers: (() => Promise<DecideReply>)[] = [];
    await using _served = await serve(bus, {
      service: "memory",
      version: "0",
      description: "test",
      handlers: [handler(addEntry, { handle: async () => Promise.reject(new Error("must not run")) })],
      decide: async (input) => {
        asked.push(input);
        return (answers.shift() ?? (() => Promise.reject(new Error("no answer"))))();
      },
    });
    await bus.nats.flush();
    const reply: DecideReply = {
      ...{ outcome: "ask", decision_id: createId("aud"), reason: "needs a yes", policies: ["p"], policy_version: "v" },
      ...{ approval_id: createId("apr"), visible: true, scope: "own" },
    };
    const add = async (text: string, title: string, key?: string) => {
      const note = { title, text, kind: "note" as const };
      const options = { envelope: { ...envelope(), ...(key && { idempotency_key: key }), token: "t" } };
      return (await request(gateway, addEntry, note, options).catch((error: unknown) => error)) as ProblemError;
    };
    answers.push(async () => reply);
    const { problem } = await add("x".repeat(5000), "long");
    expect(problem).toMatchObject({ status: 403, detail: "needs a yes", approval_id: reply.approval_id });
    expect(problem.decision).toEqual({ id: reply.decision_id, outcome: "ask", reason: "needs a yes", policies: ["p"] });
    answers.push(async () => Promise.reject(new ProblemError("too-many-requests", { detail: "100 wait" })));
    expect((await add("y", "short", "a-key")).problem).toMatchObject({ status: 429, detail: "100 wait" });
    answers.push(
      async () => ({ ...reply, outcome: "deny" }),
      async () => ({ ...reply, outcome: "deny" }),
    );
    expect((await add("y", "short")).problem.approval_id).toBeUndefined();
    await add("z", "short");
    const [long, keyed, again, other] = asked;
    expect(long).toMatchObject({ token: "t", ask: { mode: "consume", subject: long?.request_id } });
    expect(long?.ask?.preview).toMatchObject({
      ...{ kind: "operation", operation: "memory.add" },
      request: {
        title: '"long"',
        text: expect.stringMatching(/^"x{999} … \(5002 characters, sha256:[0-9a-f]{16}…\)$/),
      },
    });
    expect(keyed?.ask?.subject).toBe("a-key");
    expect(keyed?.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect([again?.digest === keyed?.digest, other?.digest === keyed?.digest]).toEqual([true, false]);
  });

  it("a store that does not answer is unavailable, or an unknown outcome; any other surprise is a bug", async () => {
    await using jobs = await nats.connect("jobs");
    await using policy = await nats.connect("policy");
    await using gateway = await nats.connect("gateway");
    policy.nats.subscribe("aether.v0.*.policy.decide", { callback: () => {} }); // hears and never answers
    await policy.nats.flush();
    const late = async () => {
      await jobs.nats.request("aether.v0.jobs.policy.decide", "", { timeout: 30 });
      throw new Error("answered");
    };
    const broken = async () => {
      throw new TypeError("broken");
    };
    const cases = [
      { operation: { ...submitJob, retry: "safe" as const }, handle: late, slug: "unavailable" },
      { operation: { ...submitJob, retry: "with-key" as const }, handle: late, slug: "outcome-unknown" },
      { operation: submitJob, handle: broken, slug: "internal-error" },
    ];
    for (const { operation, handle, slug } of cases) {
      const exempt = { ...operation, access: { exempt: "health" as const, reason: "" } };
      await using _served = await serve(jobs, {
        ...{ service: "jobs", version: "0", description: "" },
        handlers: [handler(exempt, { handle })],
      });
      const envelope = { request_id: createId("req"), principal: { type: "User" as const, id: "1", roles: [] } };
      await expect(request(gateway, exempt, { command: ["true"] }, { envelope })).rejects.toMatchObject({ slug });
    }
  });

  it("nobody may call what the topology does not give", async () => {
    await using worker = await nats.connect("worker-host-a");
    await using gateway = await nats.connect("gateway");
    for (const [bus, operation] of [
      [worker, submitJob],
      [worker, decide],
      [worker, listAudit],
      [gateway, decide],
    ] as [Bus, Operation][]) {
      const failed = (await request(bus, operation, {}, { envelope: envelope() }).catch(
        (error: unknown) => error,
      )) as ProblemError;
      expect(failed.slug).toBe("unavailable");
    }
  });
});

function envelope() {
  return { request_id: createId("req"), principal: { type: "User" as const, id: "1000", roles: [] } };
}
