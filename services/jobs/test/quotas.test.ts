// Quotas of jobs through the bus, with two instances that know each other only by the records: what is given, what is refused,
// and that everything comes back, whatever became of a job and of who served it.
import { openBucket } from "@aether/bus";
import {
  createId,
  getJob,
  type Job,
  killJob,
  listQuotas,
  ProblemError,
  type Quota,
  QuotaRecord,
  readQuota,
  readRates,
  removeQuota,
  setQuota,
  stopJob,
  submitJob,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Holders } from "../src/holding.ts";
import { keyOf } from "../src/quotas.ts";
import { allow, type CountingWorker, ended, type Fixture, isStart, running, startFixture } from "./_fixture.ts";

const missing = requireBackend("nats");
const spec = { command: ["true"], resources: { cpus: 1, memory: "64MiB" } };
let uids = 2000;

describe.skipIf(missing)(`quotas${missing ? `: ${missing}` : ""}`, () => {
  let fixture: Fixture;
  beforeAll(async () => {
    // The worker renews once: it stays as long as the tests may take.
    fixture = await startFixture({ AETHER_JOBS_PLACE_WITHOUT_JOB_MS: "1000", AETHER_JOBS_WORKER_GONE_MS: "300000" });
    await fixture.startJobs();
    await fixture.startJobs();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  const set = (uid: string, limits: object) => fixture.call(setQuota, { principal: `user:${uid}`, ...limits });
  const submit = (uid: string, more: object = {}): Promise<Job> =>
    fixture.call(submitJob, { ...spec, ...more }, { uid });
  const get = (id: string) => fixture.call(getJob, { id });
  const outcome = (promise: Promise<unknown>) =>
    promise.then(
      () => "accepted",
      (error: unknown) => (error instanceof ProblemError ? error.slug : String(error)),
    );

  /** What is held, as the truth says it: of any instance's memory nothing is asked. */
  async function held(uid: string): Promise<Record<string, number>> {
    await using bus = await fixture.nats.connect("jobs");
    const record = await openBucket(bus, "holders", Holders).get(keyOf(`user:${uid}`));
    return Object.fromEntries(Object.entries(record?.value.jobs ?? {}).map(([id, [step]]) => [id, step]));
  }
  const holdsNothing = (uid: string) =>
    waitFor("nothing to be held", async () => Object.keys(await held(uid)).length === 0);
  /** Both instances know of the limit. */
  async function known(uid: string, is: (limits: Quota["limits"]) => boolean): Promise<void> {
    let seen = 0;
    await waitFor("the limit to be known everywhere", async () => {
      seen = is((await fixture.call(readQuota, {}, { uid })).limits) ? seen + 1 : 0;
      return seen >= 12;
    });
  }

  it("of 64 submits at once against a quota of 10 exactly 10 are accepted, whichever instance they meet", async () => {
    const uid = String(uids++);
    await set(uid, { jobs: 10 });
    await known(uid, ({ jobs }) => jobs === 10);
    const outcomes = await Promise.all(Array.from({ length: 64 }, () => outcome(submit(uid))));
    expect(outcomes.filter((found) => found === "accepted")).toHaveLength(10);
    expect(outcomes.filter((found) => found === "too-many-requests")).toHaveLength(54);
    expect(Object.values(await held(uid))).toEqual(Array(10).fill(0));
    const refused = await submit(uid).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      problem: { status: 429, detail: "quota jobs: 10 jobs that have not ended are allowed, and there are 10" },
    });
    const other = String(uids++);
    expect(await outcome(submit(other))).toBe("accepted");
    await endAll(uid);
    await endAll(other);
  });

  it("what has ended makes room at once, for exactly as many", async () => {
    const uid = String(uids++);
    await set(uid, { jobs: 2 });
    await known(uid, ({ jobs }) => jobs === 2);
    const [first] = [await submit(uid), await submit(uid)];
    expect(await outcome(submit(uid))).toBe("too-many-requests");
    await fixture.call(killJob, { id: first.id }, { uid });
    await waitFor("the place to be free", async () => Object.keys(await held(uid)).length === 1);
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => outcome(submit(uid))));
    expect(outcomes.filter((found) => found === "accepted")).toHaveLength(1);
    await endAll(uid);
  });

  it("a repeated submit takes one place, also when there is no other left, and none when its job has ended", async () => {
    const uid = String(uids++);
    await set(uid, { jobs: 1 });
    await known(uid, ({ jobs }) => jobs === 1);
    const again = () => fixture.call(submitJob, spec, { uid, idempotencyKey: `key-${uid}` });
    const made = await Promise.all(Array.from({ length: 8 }, again));
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
    expect(Object.keys(await held(uid))).toEqual([made[0]?.id]);
    await fixture.call(killJob, { id: made[0]?.id ?? "" }, { uid });
    await holdsNothing(uid);
    expect((await again()).id).toBe(made[0]?.id);
    expect(await held(uid)).toEqual({});
  });

  describe("with a worker", () => {
    let worker: CountingWorker;
    beforeAll(async () => {
      worker = await fixture.worker("host-a");
    });
    beforeEach(async () => {
      await worker.renew();
    });

    const claimAll = async (max = 8) => worker.claim({ max, waitMs: 300 });

    it("no more run at once than may; the rest stays queued and holds nobody else up", async () => {
      const [uid, other] = [String(uids++), String(uids++)];
      await set(uid, { running_jobs: 2 });
      await known(uid, ({ running_jobs }) => running_jobs === 2);
      const mine = [];
      for (let i = 0; i < 5; i++) mine.push(await submit(uid));
      const others = await submit(other);
      const claims = await waitFor("three claims", async () => {
        const found = await claimAll();
        return found.length > 0 && found;
      });
      while (claims.length < 3) claims.push(...(await claimAll()));
      expect(claims.map(({ job_id }) => job_id).sort()).toEqual([mine[0]?.id, mine[1]?.id, others.id].sort());
      expect(await claimAll()).toEqual([]);
      expect(Object.values(await held(uid)).sort()).toEqual([0, 0, 0, 1, 1]);
      const [one] = claims.filter(({ owner }) => owner === `user:${uid}`);
      if (!one) throw new Error("nothing was claimed");
      const waiting = worker.claim({ waitMs: 10_000 });
      await worker.report(one, running);
      await worker.report(one, ended(0));
      const [next] = await waiting;
      expect(next?.job_id).toBe(mine[2]?.id);
      await endAll(uid);
      await endAll(other);
    });

    it.each([
      ["cpus", { cpus: 2.5 }],
      ["memory", { memory: "160MiB" }],
    ])("running jobs have no more %s together than may be", async (_, limits) => {
      const uid = String(uids++);
      const after = await set(uid, limits);
      await known(uid, (found) => found.cpus === after.limits.cpus && found.memory_bytes === after.limits.memory_bytes);
      for (let i = 0; i < 4; i++) await submit(uid);
      const claims = await claimAll();
      while (claims.length < 2) claims.push(...(await claimAll()));
      expect(claims).toHaveLength(2);
      expect(await claimAll()).toEqual([]);
      expect(await fixture.call(readQuota, {}, { uid })).toMatchObject({
        used: { jobs: 4, running_jobs: 2, cpus: 2, memory_bytes: 128 * 1024 ** 2 },
      });
      await endAll(uid);
    });

    it("what could never run is refused, and what says nothing gets no more than may be", async () => {
      const uid = String(uids++);
      await set(uid, { cpus: 0.5, memory: "32MiB" });
      await known(uid, ({ cpus }) => cpus === 0.5);
      const refused = await submit(uid).catch((error: unknown) => error);
      expect(refused).toMatchObject({
        problem: { detail: "quota cpus: 0.5 cpus are allowed at once, and it asks for 1" },
      });
      const job = await fixture.call(submitJob, { command: ["true"] }, { uid });
      expect(job.spec.resources).toMatchObject({ cpus: 0.5, memory: 32 * 1024 ** 2 });
      await endAll(uid);
    });

    it("every end gives back: success, failure, stop, kill, denial, expiry, loss; and a retry its turn to run", async () => {
      const uid = String(uids++);
      await set(uid, { jobs: 8, running_jobs: 1 });
      await known(uid, ({ running_jobs }) => running_jobs === 1);
      const run = async (more: object = {}) => {
        const { id } = await submit(uid, more);
        const [claim] = await worker.claim();
        if (claim?.job_id !== id) throw new Error("another job was claimed");
        await worker.report(claim, running);
        return claim;
      };
      expect(await worker.report(await run(), ended(0))).toBe("succeeded");
      expect(await worker.report(await run(), ended(3))).toBe("failed");
      const timed = await run({ timeout: "1s" });
      await worker.report(timed, { event: "timeout" });
      expect(await worker.report(timed, ended(null, 0, { signal: "SIGTERM" }))).toBe("timed_out");
      const stopped = await run();
      await fixture.call(stopJob, { id: stopped.job_id }, { uid });
      expect(await worker.report(stopped, ended(0))).toBe("stopped");
      const lost = await run();
      expect(await worker.report(lost, { event: "expired" })).toBe("running");
      await waitFor("the job to be lost", async () => (await get(lost.job_id)).state === "lost");
      expect((await get((await killed(uid)).id)).state).toBe("killed");
      const expiring = await submit(uid, { queue_timeout: "1ms", pool: "none" });
      await waitFor("the job to expire", async () => (await get(expiring.id)).state === "expired");
      fixture.policy.answer = (asked) => (isStart(asked) ? { ...allow, outcome: "deny" } : allow);
      const denied = await submit(uid);
      await waitFor("the start to be denied", async () => {
        expect(await claimAll()).toEqual([]);
        return (await get(denied.id)).state === "denied";
      });
      fixture.policy.answer = () => allow;
      await holdsNothing(uid);
      const again = await run({ retry: { max_attempts: 2, backoff: { initial: "1ms" } } });
      expect(await worker.report(again, ended(1))).toBe("queued");
      await waitFor("its second attempt to be waited for", async () => (await held(uid))[again.job_id] === 2);
      const [second] = await worker.claim();
      expect(second).toMatchObject({ job_id: again.job_id, attempt: 2 });
      expect(await held(uid)).toEqual({ [again.job_id]: 3 });
      if (second) await worker.report(second, { event: "refused", reason: "sandbox_unavailable", message: "" });
      await holdsNothing(uid);
    });

    it("a policy without an answer leaves no job counted as running", async () => {
      const uid = String(uids++);
      await set(uid, { running_jobs: 1 });
      await known(uid, ({ running_jobs }) => running_jobs === 1);
      const job = await submit(uid);
      fixture.policy.answer = (asked) => {
        if (isStart(asked)) throw new ProblemError("audit-unavailable");
        return allow;
      };
      expect(await outcome(worker.claim())).toBe("audit-unavailable");
      fixture.policy.answer = () => allow;
      expect(await held(uid)).toEqual({ [job.id]: 0 });
      expect((await worker.claim()).map(({ job_id }) => job_id)).toEqual([job.id]);
      await endAll(uid);
    });
  });

  it("what a crash leaves is put right: a place without a job, one of a job that has ended, a job without one", async () => {
    const uid = String(uids++);
    const [ending, open] = [await submit(uid), await submit(uid)];
    await fixture.call(killJob, { id: ending.id }, { uid });
    await waitFor("the place to be free", async () => Object.keys(await held(uid)).length === 1);
    await using bus = await fixture.nats.connect("jobs");
    const bucket = openBucket(bus, "holders", Holders);
    const key = keyOf(`user:${uid}`);
    const entry = await bucket.get(key);
    if (!entry) throw new Error("there is no record");
    const left = { [ending.id]: [1, 1000, 0], [createId("job")]: [0, 0, 0] } as Holders["jobs"];
    await bucket.update(key, { ...entry.value, jobs: left }, entry.revision);
    const mended = await waitFor("the record to be right", async () => {
      const found = await held(uid);
      return JSON.stringify(Object.keys(found)) === JSON.stringify([open.id]) && found;
    });
    expect(mended).toEqual({ [open.id]: 0 });
    await endAll(uid);
  });

  it("a limit that was taken below what is held ends nothing and gives nothing more", async () => {
    const uid = String(uids++);
    const jobs = [await submit(uid), await submit(uid)];
    await set(uid, { jobs: 1 });
    await known(uid, (limits) => limits.jobs === 1);
    expect(await outcome(submit(uid))).toBe("too-many-requests");
    for (const { id } of jobs) expect((await get(id)).state).toBe("queued");
    await endAll(uid);
  });

  it("limits are set, changed in part, taken back, and read by whom policy lets", async () => {
    const uid = String(uids++);
    const principal = `user:${uid}`;
    expect(await set(uid, { jobs: 5, memory: "1GiB" })).toMatchObject({
      principal,
      limits: { jobs: 5, memory_bytes: 1024 ** 3, cpus: null, requests_per_second: 200 },
      set: { jobs: 5, memory_bytes: 1024 ** 3 },
      used: { jobs: 0, artifact_bytes: null },
    });
    expect((await set(uid, { jobs: null, cpus: 2 })).set).toEqual({ memory_bytes: 1024 ** 3, cpus: 2 });
    await known(uid, ({ cpus }) => cpus === 2);
    expect(await outcome(fixture.call(readQuota, { principal }, { uid: "1" }))).toBe("not-found");
    fixture.policy.answer = () => ({ ...allow, scope: "all" });
    expect(await fixture.call(readQuota, { principal }, { uid: "1" })).toMatchObject({
      principal,
      limits: { cpus: 2 },
    });
    const all = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page: { items: Quota[]; next_cursor: string | null } = await fixture.call(listQuotas, { limit: 2, cursor });
      all.push(...page.items.map((item) => item.principal));
      cursor = page.next_cursor;
    }
    fixture.policy.answer = () => allow;
    expect(all).toContain(principal);
    expect(all).toEqual([...new Set(all)].sort());
    expect((await fixture.call(listQuotas, {}, { uid })).items.map((item) => item.principal)).toEqual([principal]);
    expect(await fixture.call(removeQuota, { principal })).toMatchObject({ set: {}, limits: { cpus: null } });
    fixture.policy.answer = (asked) => (asked.action === "set_quota" ? { ...allow, outcome: "deny" } : allow);
    expect(await outcome(set(uid, { jobs: 1 }))).toBe("policy-denied");
    fixture.policy.answer = () => allow;
    for (const wrong of ["user:ada", "user:1000:2", "group:1", "agent:a b", "user:*x"])
      expect(await outcome(fixture.call(setQuota, { principal: wrong, jobs: 1 }))).toBe("invalid-request");
    expect(await outcome(set(uid, { jobs: -1 }))).toBe("invalid-request");
    expect(await outcome(set(uid, { jobs: 10_001 }))).toBe("invalid-request");
  });

  it("a limit of a kind holds for each of that kind for whom nothing else is set", async () => {
    const setKind = (limits: object) => fixture.call(setQuota, { principal: "agent:*", ...limits });
    const limitsOf = async (principal: string) => {
      fixture.policy.answer = () => ({ ...allow, scope: "all" });
      const { limits } = await fixture.call(readQuota, { principal });
      fixture.policy.answer = () => allow;
      return limits;
    };
    await setKind({ jobs: 3 });
    await fixture.call(setQuota, { principal: "agent:aurora", jobs: 7 });
    await waitFor("the limits to be known", async () => (await limitsOf("agent:aurora")).jobs === 7);
    await waitFor("the limits to be known", async () => (await limitsOf("agent:other")).jobs === 3);
    expect((await limitsOf("user:1000")).jobs).toBe(1000);
    await setKind({ jobs: null });
  });

  it("the gateway is told of rates as soon as they are set", async () => {
    const read = (known: number) => fixture.call(readRates, { known, wait_ms: 10_000 });
    const { revision } = await read(0);
    const waiting = read(revision);
    await fixture.call(setQuota, { principal: "user:77", requests_per_second: 5 });
    const told = await waiting;
    expect(told.revision).toBeGreaterThan(revision);
    expect(told.rates).toMatchObject({ "user:77": 5 });
    await using bus = await fixture.nats.connect("jobs");
    expect((await openBucket(bus, "quotas", QuotaRecord).get(keyOf("user:77")))?.value).toEqual({
      principal: "user:77",
      set: { requests_per_second: 5 },
    });
  });

  async function killed(uid: string): Promise<Job> {
    const job = await submit(uid, { pool: "none" });
    return fixture.call(killJob, { id: job.id }, { uid });
  }

  /** Ends everything that a user still has, whatever it is doing. */
  async function endAll(uid: string): Promise<void> {
    for (const id of Object.keys(await held(uid))) await fixture.call(killJob, { id }, { uid });
  }
});
