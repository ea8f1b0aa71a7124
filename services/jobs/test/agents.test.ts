// Agents at the jobs service: one owner for a name, whatever comes at once; what a job that runs as one is asked and given.
import {
  addAgent,
  type DecideRequest,
  followAgents,
  getAgent,
  getJob,
  type Job,
  limits,
  listAgents,
  ProblemError,
  removeAgent,
  submitJob,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { allow, type CountingWorker, type Fixture, startFixture } from "./_fixture.ts";

const missing = requireBackend("nats");
const spec = { command: ["true"], resources: { cpus: 1, memory: "64MiB" } };

describe.skipIf(missing)(`agents of jobs${missing ? `: ${missing}` : ""}`, () => {
  let fixture: Fixture;
  let worker: CountingWorker;
  beforeAll(async () => {
    fixture = await startFixture();
    await fixture.startJobs();
    await fixture.startJobs();
    worker = await fixture.worker("host-a");
    await worker.renew();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());
  afterEach(() => {
    fixture.policy.answer = () => allow;
  });

  const add = (name: string, more: object = {}, uid = "1000") => fixture.call(addAgent, { name, ...more }, { uid });
  const remove = (name: string) => fixture.call(removeAgent, { name });
  const submit = (more: object, uid?: string): Promise<Job> =>
    fixture.call(submitJob, { ...spec, ...more }, uid === undefined ? {} : { uid });
  const fault = (promise: Promise<unknown>) =>
    promise.then(
      () => "accepted",
      (error: unknown) => (error instanceof ProblemError ? `${error.slug}: ${error.problem.detail}` : String(error)),
    );
  const asked = (action: DecideRequest["action"]) =>
    fixture.policy.asked.filter((request) => request.action === action).at(-1);

  it("have one owner, whoever comes at once, and are answered again to who asks for the same", async () => {
    const tries = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => add("racer", {}, String(2000 + n))));
    const won = tries.flatMap((tried) => (tried.status === "fulfilled" ? [tried.value] : []));
    expect(won).toHaveLength(1);
    const [first] = won;
    const uid = first?.owner.slice("user:".length) ?? "";
    expect(await add("racer", {}, uid)).toEqual(first);
    expect(await fault(add("racer", { limits: { cpus: 2 } }, uid))).toBe("conflict: the name racer is taken");
    expect(await fixture.call(getAgent, { name: "racer" })).toEqual(first);
  });

  it("are made for another only where policy allows that as well", async () => {
    fixture.policy.answer = ({ action, resource }) =>
      action === "add_agent" && resource.owner === "user:7" ? { ...allow, outcome: "deny", reason: "no" } : allow;
    expect(await fault(add("foreign", { owner: "user:7" }))).toBe("policy-denied: no");
    expect(await fault(fixture.call(getAgent, { name: "foreign" }))).toMatch(/^not-found/);
    fixture.policy.answer = () => allow;
    expect(await add("foreign", { owner: "user:7" })).toMatchObject({ owner: "user:7", created_by: "user:1000" });
    expect(asked("add_agent")).toMatchObject({ resource: { type: "AgentRecord", id: "foreign", owner: "user:7" } });
  });

  it("keep their name for their owner when they are removed", async () => {
    await add("gone");
    await remove("gone");
    for (const operation of [removeAgent, getAgent])
      expect(await fault(fixture.call(operation, { name: "gone" }))).toMatch(/^not-found/);
    expect(await fault(add("gone", {}, "1001"))).toBe("conflict: the name gone is taken");
    expect(await add("gone", { limits: { cpus: 2 } })).toMatchObject({ owner: "user:1000", limits: { cpus: 2 } });
  });

  it("are told to the gateway as soon as they change, by every instance", async () => {
    const follow = (version: number, wait_ms = 0) => fixture.call(followAgents, { version, wait_ms });
    const known = await waitFor("both instances to know it", async () => {
      const told = await Promise.all(Array.from({ length: 6 }, () => follow(0)));
      return told.every(({ version }) => version === told[0]?.version) && told[0];
    });
    const waiting = Array.from({ length: 6 }, () => follow(known.version, 10_000));
    await add("followed");
    for (const { version, agents } of await Promise.all(waiting)) {
      expect(version).toBeGreaterThan(known.version);
      expect(agents).toContainEqual({ name: "followed", owner: "user:1000" });
    }
    const { version } = await follow(0);
    const next = follow(version, 10_000);
    await remove("followed");
    expect((await next).agents.map(({ name }) => name)).not.toContain("followed");
    const startedAt = performance.now();
    expect((await follow((await next).version, 100)).version).toBe((await next).version);
    expect(performance.now() - startedAt).toBeGreaterThan(90);
  });

  it("are listed by name and by page, of everybody only where policy says so", async () => {
    for (const name of ["list-c", "list-a", "list-b"]) await add(name, {}, "3000");
    const list = (more: object = {}) => fixture.call(listAgents, more, { uid: "3000" });
    await waitFor("every instance to know them", async () =>
      (await Promise.all(Array.from({ length: 6 }, () => list()))).every(({ items }) => items.length === 3),
    );
    const first = await list({ limit: 2 });
    expect([first.items.map(({ name }) => name), first.next_cursor]).toEqual([["list-a", "list-b"], "list-b"]);
    expect((await list({ limit: 2, cursor: "list-b" })).items.map(({ name }) => name)).toEqual(["list-c"]);
    fixture.policy.answer = () => ({ ...allow, scope: "all" });
    expect((await list({ limit: limits.pageMax })).items.length).toBeGreaterThan(3);
  });

  it("are attached where policy allows run_agent about their owner, and are as not there where it hides them", async () => {
    await add("mine");
    const job = await submit({ attach: { agent: "mine" }, pool: "elsewhere" });
    expect(job.spec).toMatchObject({ attach: { agent: "mine" }, labels: { "aether.agent": "mine" } });
    expect(asked("run_agent")).toMatchObject({
      resource: { type: "AgentRecord", id: "mine", owner: "user:1000" },
      job_id: job.id,
      record: "before",
    });
    expect(await fault(submit({ attach: { agent: "mine" } }))).toBe(`conflict: mine runs already, as ${job.id}`);
    const hidden = "invalid-request: attach.agent: there is no such agent";
    expect(await fault(submit({ attach: { agent: "nowhere" } }))).toBe(hidden);
    for (const visible of [true, false]) {
      fixture.policy.answer = ({ action }) =>
        action === "run_agent" ? { ...allow, outcome: "deny", reason: "not yours", visible } : allow;
      expect(await fault(submit({ attach: { agent: "mine" } }, "1001"))).toBe(
        visible ? "policy-denied: not yours" : hidden,
      );
    }
  });

  it("that are gone have no rights when what they submitted starts", async () => {
    await add("brief");
    const agent = { type: "Agent" as const, id: "brief", roles: ["agent" as const], owner: "user:1000" };
    const submitAs = () => fixture.call(submitJob, spec, { principal: agent });
    const first = await submitAs();
    expect(first.owner).toBe("agent:brief");
    await worker.claim();
    expect(asked("start_job")?.principal).toEqual(agent);
    const second = await submitAs();
    await remove("brief");
    fixture.policy.answer = ({ action, principal }) =>
      action === "start_job" && principal.roles.length === 0
        ? { ...allow, outcome: "deny", reason: "no rights" }
        : allow;
    expect(await fault(submitAs())).toBe("policy-denied: no rights");
    expect(await worker.claim({ waitMs: 200 })).toEqual([]);
    expect(await fixture.call(getJob, { id: second.id })).toMatchObject({ state: "denied", message: "no rights" });
  });
});
