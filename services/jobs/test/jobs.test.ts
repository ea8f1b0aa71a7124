import { request } from "@aether/bus";
import {
  checkAttempt,
  createId,
  getJob,
  type Job,
  killJob,
  limits,
  listJobs,
  ProblemError,
  readLogs,
  stopJob,
  submitJob,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allow, type CountingWorker, ended, type Fixture, isStart, running, startFixture } from "./_fixture.ts";

const missing = requireBackend("nats");
const spec = { command: ["true"], resources: { cpus: 1, memory: "64MiB" } };

describe.skipIf(missing)(`jobs${missing ? `: ${missing}` : ""}`, () => {
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

  const submit = (more: object = {}): Promise<Job> => fixture.call(submitJob, { ...spec, ...more });
  const get = (id: string) => fixture.call(getJob, { id });
  const slug = (promise: Promise<unknown>) =>
    promise.then(
      () => "accepted",
      (error: unknown) => (error instanceof ProblemError ? error.slug : String(error)),
    );

  /** Claims exactly this job; the two instances' views may be a moment behind. */
  async function claim(id: string) {
    const [claimed] = await worker.claim();
    expect(claimed?.job_id).toBe(id);
    if (!claimed) throw new Error("nothing was claimed");
    return claimed;
  }

  it("artifacts and secrets are told whose an attempt is only for its secret, its number and the host that holds it", async () => {
    const job = await submit();
    const claimed = await claim(job.id);
    const { secret } = claimed;
    await using artifacts = await fixture.nats.connect("artifacts");
    await using secrets = await fixture.nats.connect("secrets");
    const check = (more: object, by = artifacts) =>
      request(
        by,
        checkAttempt,
        { job_id: job.id, attempt: 1, secret, host: "host-a", ...more },
        { envelope: { request_id: createId("req") } },
      );
    const principal = { type: "User", id: "1000", roles: ["member"] };
    for (const by of [artifacts, secrets])
      expect((await check({}, by)).reply).toEqual({
        ...{ owner: "user:1000", principal, intent_id: null, inputs: [], secrets: [] },
      });
    for (const wrong of [{ host: "host-b" }, { attempt: 2 }, { secret: "0".repeat(32) }])
      expect(await slug(check(wrong))).toBe("conflict");
    expect(await slug(check({ job_id: createId("job") }))).toBe("not-found");
    await worker.report(claimed, running);
    await worker.report(claimed, ended(0));
    expect(await slug(check({}))).toBe("conflict");
  });

  it("a job goes from queued over starting and running to succeeded, with its log", async () => {
    const job = await submit({ labels: { a: "b" } });
    expect(job).toMatchObject({ state: "queued", attempt: 0, owner: "user:1000", exit_code: null });
    const claimed = await claim(job.id);
    expect(await get(job.id)).toMatchObject({ state: "starting", attempt: 1, worker: "host-a" });
    expect(await worker.report(claimed, running)).toBe("running");
    expect(await worker.log(claimed, 1, ["one", "two"])).toBe(2);
    expect(await worker.log(claimed, 3, ["three"])).toBe(3);
    expect(await worker.report(claimed, ended(0, 3))).toBe("succeeded");
    const done = await get(job.id);
    expect(done).toMatchObject({ state: "succeeded", exit_code: 0, reason: null, logs: { last_seq: 3 } });
    expect(done.attempts).toHaveLength(1);
    const page = await fixture.call(readLogs, { id: job.id, after: 1 });
    expect(page.batches.map((batch) => [batch.first_seq, batch.last_seq])).toEqual([
      [2, 2],
      [3, 3],
    ]);
    expect(page.eof).toMatchObject({ state: "succeeded", last_seq: 3 });
  });

  it("the start of each attempt is a decision of its own, bound to the spec", async () => {
    const job = await submit();
    const claimed = await claim(job.id);
    const asked = fixture.policy.asked.filter((request) => isStart(request) && request.job_id === job.id);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatchObject({
      principal: { type: "User", id: "1000" },
      record: "before",
      context: { attempt: 1 },
    });
    expect(asked[0]?.digest).toMatch(/^sha256:/);
    await worker.report(claimed, running);
    await worker.report(claimed, ended(0));
  });

  it("a start that policy denies ends the job denied; without an answer it stays queued", async () => {
    fixture.policy.answer = (request) =>
      isStart(request) ? { ...allow, outcome: "deny", reason: "not today" } : allow;
    const denied = await submit();
    expect(await worker.claim({ waitMs: 300 })).toEqual([]);
    expect(await get(denied.id)).toMatchObject({ state: "denied", reason: "policy_denied", message: "not today" });
    fixture.policy.answer = (request) => {
      if (isStart(request)) throw new ProblemError("audit-unavailable");
      return allow;
    };
    const waiting = await submit();
    expect(await slug(worker.claim({ waitMs: 300 }))).toBe("audit-unavailable");
    expect((await get(waiting.id)).state).toBe("queued");
    fixture.policy.answer = () => allow;
    await fixture.call(killJob, { id: waiting.id });
  });

  it("higher priority goes first, then the oldest, and what does not fit is passed over", async () => {
    const [first, big, wide, urgent] = [
      await submit(),
      await submit({ resources: { cpus: 8, memory: "64MiB" } }),
      await submit({ resources: { disk: "65GiB" } }),
      await submit({ priority: 5 }),
    ];
    await waitFor(
      "the view",
      async () => (await fixture.call(listJobs, { min_revision: urgent.revision })).items.length > 0,
    );
    const claims = await worker.claim({ max: 4 });
    expect(claims.map((claimed) => claimed.job_id)).toEqual([urgent.id, first.id]);
    for (const claimed of claims) {
      await worker.report(claimed, running);
      await worker.report(claimed, ended(0));
    }
    for (const { id } of [big, wide])
      expect(await fixture.call(stopJob, { id })).toMatchObject({ state: "stopped", reason: "requested" });
  });

  it("disks that fit one by one but not together are given one after the other", async () => {
    const jobs = [await submit({ resources: { disk: "40GiB" } }), await submit({ resources: { disk: "40GiB" } })];
    const revision = jobs[1]?.revision ?? 0;
    await waitFor("the view", async () => (await fixture.call(listJobs, { min_revision: revision })).items.length > 0);
    const claims = await worker.claim({ max: 2 });
    expect(claims.map((claimed) => claimed.job_id)).toEqual([jobs[0]?.id]);
    for (const claimed of [...claims, ...(await worker.claim())]) {
      await worker.report(claimed, running);
      await worker.report(claimed, ended(0));
    }
    expect((await get(jobs[1]?.id ?? "")).state).toBe("succeeded");
  });

  it("a stop reaches the worker with its next renewal, a kill overtakes it, and the end is as asked", async () => {
    const job = await submit();
    const claimed = await claim(job.id);
    await worker.report(claimed, running);
    const held = { job_id: job.id, attempt: 1, stopping: null };
    const orders = worker.renew([held], { waitMs: 2_000 });
    expect(await fixture.call(stopJob, { id: job.id, grace: "3s" })).toMatchObject({ state: "stopping" });
    expect(await orders).toEqual([{ job_id: job.id, attempt: 1, order: "stop", grace_ms: 3_000 }]);
    expect(await worker.renew([{ ...held, stopping: "stop" }])).toEqual([]);
    await fixture.call(killJob, { id: job.id });
    expect(
      await waitFor("the kill order", async () => (await worker.renew([{ ...held, stopping: "stop" }]))[0]),
    ).toMatchObject({ order: "kill" });
    expect(await worker.report(claimed, ended(null, 0, { signal: "SIGKILL" }))).toBe("killed");
    expect(await fixture.call(stopJob, { id: job.id })).toMatchObject({ state: "killed", reason: "requested" });
  });

  it("a stop while its time is up holds: it is not tried again", async () => {
    const retry = { max_attempts: 2, backoff: { initial: "1ms", jitter: 0 } };
    for (const stopped of [false, true]) {
      const job = await submit({ retry });
      const claimed = await claim(job.id);
      await worker.report(claimed, running);
      expect(await worker.report(claimed, { event: "timeout" })).toBe("stopping");
      if (stopped) expect(await fixture.call(stopJob, { id: job.id })).toMatchObject({ reason: "requested" });
      expect(await worker.report(claimed, ended(null, 0, { signal: "SIGKILL" }))).toBe(stopped ? "stopped" : "queued");
      await fixture.call(killJob, { id: job.id });
    }
  });

  it("a stop while it is starting ends it when its worker asks to release it, and nothing is released", async () => {
    const job = await submit();
    const claimed = await claim(job.id);
    expect(await fixture.call(stopJob, { id: job.id })).toMatchObject({ state: "stopping" });
    expect(await slug(worker.report(claimed, running))).toBe("conflict");
    expect(await get(job.id)).toMatchObject({ state: "stopped", reason: "requested", attempts: [] });
  });

  it("a report that comes again late, or out of turn, changes nothing", async () => {
    const job = await submit();
    const claimed = await claim(job.id);
    expect(await worker.report(claimed, ended(0))).toBe("starting");
    await worker.report(claimed, running);
    await fixture.call(stopJob, { id: job.id });
    expect(await slug(worker.report(claimed, running))).toBe("conflict");
    expect(await get(job.id)).toMatchObject({ state: "stopping" });
    expect(await worker.report(claimed, ended(143))).toBe("stopped");
  });

  it("what cannot be killed stays stopping and says so", async () => {
    const job = await submit();
    const claimed = await claim(job.id);
    await worker.report(claimed, running);
    await fixture.call(killJob, { id: job.id });
    const message = "processes of this job cannot be killed";
    expect(await worker.report(claimed, { event: "unkillable", message })).toBe("stopping");
    expect(await get(job.id)).toMatchObject({ state: "stopping", message, ended_at: null });
    expect(await worker.report(claimed, ended(null, 0, { signal: "SIGKILL" }))).toBe("killed");
  });

  it("ends are told apart: exit, signal, out of memory", async () => {
    for (const [report, expected] of [
      [ended(3), { state: "failed", reason: "exit_nonzero", exit_code: 3 }],
      [
        ended(null, 0, { signal: "SIGSEGV" }),
        { state: "failed", reason: "signal", signal: "SIGSEGV", exit_code: null },
      ],
      [ended(137, 0, { oom: true }), { state: "failed", reason: "oom_killed" }],
      [ended(0, 0, { oom: true }), { state: "succeeded", reason: null }],
    ] as const) {
      const job = await submit();
      const claimed = await claim(job.id);
      await worker.report(claimed, running);
      await worker.report(claimed, report);
      expect(await get(job.id)).toMatchObject(expected);
    }
  });

  it("retry queues again after the backoff, counts attempts, and ends when they are used up", async () => {
    const job = await submit({ retry: { max_attempts: 2, on: ["exit"], backoff: { initial: "50ms" } } });
    for (const attempt of [1, 2]) {
      const claimed = await claim(job.id);
      expect(claimed).toMatchObject({ attempt, log: { last_seq: attempt - 1 } });
      await worker.report(claimed, running);
      await worker.log(claimed, attempt, [`attempt ${attempt}`]);
      await worker.report(claimed, ended(1, attempt));
    }
    const done = await get(job.id);
    expect(done).toMatchObject({ state: "failed", reason: "exit_nonzero", attempt: 2, logs: { last_seq: 2 } });
    expect(done.attempts.map((attempt) => attempt.reason)).toEqual(["exit_nonzero", "exit_nonzero"]);
  });

  it("an attempt that failed before its release costs nothing, and the fifth time fails the job", async () => {
    const job = await submit();
    for (let attempt = 1; attempt <= limits.startFailuresMax; attempt++) {
      await worker.report(await claim(job.id), {
        event: "refused",
        reason: "start_failed",
        message: "the warden does not run",
      });
    }
    expect(await get(job.id)).toMatchObject({
      state: "failed",
      reason: "start_failed",
      message: "the warden does not run",
      attempts: [],
    });
    const refused = await submit();
    await worker.report(await claim(refused.id), {
      event: "refused",
      reason: "sandbox_unavailable",
      message: "no cgroups",
    });
    expect(await get(refused.id)).toMatchObject({
      state: "failed",
      reason: "sandbox_unavailable",
      message: "no cgroups",
    });
  });

  it("a report or a log without the attempt's secret, or out of turn, changes nothing", async () => {
    const job = await submit();
    const claimed = await claim(job.id);
    const forged = { ...claimed, secret: "0".repeat(32) };
    expect(await slug(worker.report(forged, running))).toBe("conflict");
    expect(await slug(worker.log(forged, 1, ["x"]))).toBe("conflict");
    expect(await slug(worker.report({ ...claimed, attempt: 2 }, running))).toBe("conflict");
    await worker.report(claimed, running);
    expect(await worker.log(claimed, 1, ["a"])).toBe(1);
    expect(await worker.log(claimed, 1, ["a"])).toBe(1);
    expect(await slug(worker.log(claimed, 5, ["gap"]))).toBe("conflict");
    await worker.report(claimed, ended(0, 1));
    expect(await worker.report(claimed, ended(1, 1))).toBe("succeeded");
    const page = await fixture.call(readLogs, { id: job.id });
    expect(page.batches).toHaveLength(1);
  });

  it("another principal's job is somebody else's to decide on, and an unknown one is not found", async () => {
    const job = await submit();
    fixture.policy.answer = (request) =>
      request.resource.owner === `user:${request.principal.id}` ? allow : { ...allow, outcome: "deny", visible: false };
    expect(await slug(fixture.call(getJob, { id: job.id }, { uid: "2000" }))).toBe("not-found");
    expect(await slug(fixture.call(killJob, { id: job.id }, { uid: "2000" }))).toBe("not-found");
    expect((await get(job.id)).state).toBe("queued");
    fixture.policy.answer = () => allow;
    expect(await slug(get("job_01k00000000000000000000000"))).toBe("not-found");
    await fixture.call(killJob, { id: job.id });
  });

  it("an Idempotency-Key makes one job, is bound to its body, and is asked anew of policy", async () => {
    const key = { idempotencyKey: "k-1" };
    const first = await fixture.call(submitJob, spec, key);
    const again = await fixture.call(submitJob, spec, key);
    expect(again).toEqual(first);
    expect(await slug(fixture.call(submitJob, { ...spec, name: "other" }, key))).toBe("idempotency-conflict");
    const others = await fixture.call(submitJob, spec, { ...key, uid: "2000" });
    expect(others.id).not.toBe(first.id);
    fixture.policy.answer = () => ({ ...allow, outcome: "deny" });
    expect(await slug(fixture.call(submitJob, spec, key))).toBe("policy-denied");
    expect(await slug(fixture.call(submitJob, spec, { idempotencyKey: "k-3" }))).toBe("policy-denied");
    fixture.policy.answer = () => allow;
    const corrected = await fixture.call(submitJob, { ...spec, name: "corrected" }, { idempotencyKey: "k-3" });
    const many = await Promise.all(
      Array.from({ length: 8 }, () => fixture.call(submitJob, spec, { idempotencyKey: "k-2" })),
    );
    expect(new Set(many.map((job) => job.id)).size).toBe(1);
    for (const id of [corrected.id, first.id, others.id, many[0]?.id ?? ""]) await fixture.call(killJob, { id });
  });

  it("lists are newest first, filtered, and page by cursor", async () => {
    const made = [];
    for (let n = 0; n < 5; n++) made.push(await submit({ labels: { list: String(n % 2) }, pool: "elsewhere" }));
    const min_revision = made.at(-1)?.revision;
    const first = await fixture.call(listJobs, { pool: "elsewhere", limit: 3, min_revision });
    expect(first.items.map((job) => job.id)).toEqual(
      made
        .map((job) => job.id)
        .reverse()
        .slice(0, 3),
    );
    const rest = await fixture.call(listJobs, {
      pool: "elsewhere",
      limit: 3,
      min_revision,
      cursor: first.next_cursor ?? "",
    });
    expect(rest).toMatchObject({ next_cursor: null });
    expect(rest.items).toHaveLength(2);
    expect((await fixture.call(listJobs, { label: ["list=1"], min_revision })).items).toHaveLength(2);
    expect((await fixture.call(listJobs, { state: ["running"], min_revision })).items).toHaveLength(0);
    const mixed = await fixture.call(listJobs, { state: ["queued", "failed", "queued"], limit: 7, min_revision });
    expect(mixed.items.map((job) => job.id)).toEqual(
      mixed.items
        .map((job) => job.id)
        .toSorted()
        .reverse(),
    );
    expect(new Set(mixed.items.map((job) => job.state))).toEqual(new Set(["queued", "failed"]));
    expect((await fixture.call(listJobs, { label: ["list=1", "a=b"], state: ["queued"], min_revision })).items).toEqual(
      [],
    );
  });

  it("what waits too long in the queue expires", async () => {
    const job = await submit({ pool: "nobody", queue_timeout: "100ms" });
    await waitFor("expiry", async () => (await get(job.id)).state === "expired");
    expect(await get(job.id)).toMatchObject({ reason: "queue_timeout" });
  });

  it("get with wait answers when the job ends", async () => {
    const job = await submit();
    const waiting = fixture.call(getJob, { id: job.id, wait: "10s" });
    const claimed = await claim(job.id);
    await worker.report(claimed, running);
    await worker.report(claimed, ended(0));
    expect(await waiting).toMatchObject({ state: "succeeded" });
  });
});
