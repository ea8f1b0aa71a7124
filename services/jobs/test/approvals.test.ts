// Jobs that wait for a person: what the jobs service asks, and what it does with an answer, whoever dies meanwhile. Policy is
// scripted; it writes approvals as the real one does, and only it could.
import { type Bucket, openBucket } from "@aether/bus";
import {
  Approval,
  createId,
  type DecideRequest,
  getJob,
  type Job,
  type JobState,
  killJob,
  ProblemError,
  stopJob,
  submitJob,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { allow, type CountingWorker, ended, type Fixture, isStart, running, startFixture } from "./_fixture.ts";

const missing = requireBackend("nats");
const spec = { command: ["python3", "a b.py"], env: { TOKEN: "1" }, resources: { cpus: 1, memory: "64MiB" } };

describe.skipIf(missing)(`jobs that wait for a person${missing ? `: ${missing}` : ""}`, () => {
  let fixture: Fixture;
  let worker: CountingWorker;
  let bucket: Bucket<Approval>;

  beforeAll(async () => {
    fixture = await startFixture();
    await fixture.startJobs();
    await fixture.startJobs();
    worker = await fixture.worker("host-a");
    await worker.renew();
    bucket = openBucket(fixture.policy.bus, "approvals", Approval);
  });
  afterAll(() => fixture[Symbol.asyncDispose]());
  beforeEach(() => {
    fixture.policy.answer = () => allow;
  });

  const get = (id: string) => fixture.call(getJob, { id });
  const reach = (id: string, state: JobState) =>
    waitFor(`the job to be ${state}`, async () => (await get(id)).state === state && get(id));

  /** Policy as it is where a person must be asked: each look ahead makes an approval, each start uses a yes or asks. */
  function asksAbout(startsWithYes = true): void {
    fixture.policy.answer = async (request) => {
      if (request.action !== "start_job") return allow;
      if (isStart(request) && startsWithYes) return allow;
      const approvalId = createId("apr");
      await bucket.create(approvalId, approvalOf(approvalId, request));
      return { ...allow, outcome: "ask", reason: "it is large", approval_id: approvalId };
    };
  }

  async function answer(id: string | null, change: Partial<Approval>): Promise<void> {
    const entry = await waitFor("the approval", () => bucket.get(id ?? ""));
    await bucket.update(entry.value.id, { ...entry.value, ...change }, entry.revision);
  }

  async function runToEnd(id: string): Promise<void> {
    const [claim] = await worker.claim();
    expect(claim?.job_id).toBe(id);
    if (!claim) return;
    await worker.report(claim, running);
    await worker.report(claim, ended(0));
  }

  it("is shown as exactly what would run, looked at before it is stored and asked again when it starts", async () => {
    asksAbout();
    const job = await fixture.call(submitJob, { ...spec, stdin: "42", timeout: "5m" });
    expect(job).toMatchObject({ state: "awaiting_approval", message: "it is large", queued_at: null });
    expect(await worker.claim({ waitMs: 200 })).toEqual([]);
    await answer(job.approval_id, { state: "approved" });
    await reach(job.id, "queued");
    await runToEnd(job.id);
    const asked = fixture.policy.asked.filter(({ action, job_id }) => action === "start_job" && job_id === job.id);
    expect(asked.map(({ ask }) => ask?.mode)).toEqual(["ask", "consume"]);
    expect(new Set(asked.map(({ digest }) => digest)).size).toBe(1);
    expect(asked[0]?.ask).toMatchObject({
      subject: job.id,
      attempt: 1,
      preview: {
        ...{ kind: "job", argv: spec.command, env: ["TOKEN"], workdir: "/workspace", pool: "default", network: [] },
        limits: { cpus: 1, memory_bytes: 64 * 1024 ** 2, timeout_ms: 300_000, attempts: 1 },
        stdin: { size_bytes: 2 },
      },
    });
    expect(await get(job.id)).toMatchObject({ state: "succeeded", approval_id: job.approval_id });
  });

  it("of which policy says at once that it may not start is refused, and nothing is stored", async () => {
    fixture.policy.answer = (request) =>
      request.action === "start_job" ? { ...allow, outcome: "deny", reason: "never" } : allow;
    const error = await fixture.call(submitJob, spec).catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(ProblemError);
    expect(error).toMatchObject({ slug: "policy-denied", problem: { decision: { outcome: "deny", reason: "never" } } });
    const id = fixture.policy.asked.at(-1)?.job_id ?? "";
    await expect(get(id)).rejects.toMatchObject({ slug: "not-found" });
  });

  it("is not asked about where policy says with the submit that it may start as it is", async () => {
    fixture.policy.answer = async ({ ahead }) => ({ ...allow, ...(ahead && { ahead: true }) });
    const before = fixture.policy.asked.length;
    const job = await fixture.call(submitJob, { ...spec, labels: { team: "docs" }, resources: {} });
    const asked = fixture.policy.asked.slice(before);
    expect(asked.map(({ action }) => action)).toEqual(["submit_job"]);
    // With every default filled in, as the start will be asked about.
    const context = { attempt: 1, cpus_milli: 2000, memory_bytes: 4 * 1024 ** 3 };
    expect(asked[0]?.ahead).toMatchObject({ action: "start_job", labels: { team: "docs" }, context });
    await runToEnd(job.id);
  });

  it.each<[Partial<Approval>, JobState, string, string]>([
    [
      { state: "denied", answered_by: "user:0", comment: "too large" },
      "denied",
      "policy_denied",
      "denied by user:0: too large",
    ],
    [{ state: "cancelled" }, "denied", "policy_denied", "the question was withdrawn"],
    [{ state: "revoked" }, "denied", "policy_denied", "the approval was taken back"],
    [{ state: "expired" }, "expired", "approval_expired", "nobody answered in time"],
  ])("ends with what became of its approval: %o", async (change, state, reason, message) => {
    asksAbout();
    const job = await fixture.call(submitJob, spec);
    await answer(job.approval_id, change);
    expect(await reach(job.id, state)).toMatchObject({ reason, message, started_at: null });
  });

  it("ends at once by a stop or a kill, and an answer that comes later changes nothing", async () => {
    asksAbout();
    for (const [end, state] of [
      [stopJob, "stopped"],
      [killJob, "killed"],
    ] as const) {
      const job = await fixture.call(submitJob, spec);
      expect(await fixture.call(end, { id: job.id })).toMatchObject({ state, reason: "requested", message: null });
      await answer(job.approval_id, { state: "approved" });
      const other = await fixture.call(submitJob, spec);
      await answer(other.approval_id, { state: "denied" });
      await reach(other.id, "denied");
      expect((await get(job.id)).state).toBe(state);
    }
  });

  it("waits again where policy asks at its start, and is not asked about where the yes was taken back", async () => {
    asksAbout(false);
    const [again, back] = [await fixture.call(submitJob, spec), await fixture.call(submitJob, spec)];
    await answer(again.approval_id, { state: "approved" });
    await reach(again.id, "queued");
    expect(await worker.claim({ waitMs: 300 })).toEqual([]);
    const waiting = await get(again.id);
    expect(waiting).toMatchObject({ state: "awaiting_approval", attempt: 0, message: "it is large" });
    expect(waiting.approval_id).not.toBe(again.approval_id);
    await fixture.call(killJob, { id: again.id });

    await answer(back.approval_id, { state: "approved" });
    await reach(back.id, "queued");
    await answer(back.approval_id, { state: "revoked" });
    expect(await reach(back.id, "denied")).toMatchObject({ message: "the approval was taken back" });
  });

  it("was answered before it was stored, and does not wait for ever", async () => {
    fixture.policy.answer = async (request: DecideRequest) => {
      if (request.action !== "start_job" || isStart(request)) return allow;
      const approvalId = createId("apr");
      await bucket.create(approvalId, { ...approvalOf(approvalId, request), state: "approved" });
      return { ...allow, outcome: "ask", reason: "it is large", approval_id: approvalId };
    };
    const job = await fixture.call(submitJob, spec);
    await reach(job.id, "queued");
    await runToEnd(job.id);
  });
});

describe.skipIf(missing)(`jobs that wait while nobody serves${missing ? `: ${missing}` : ""}`, () => {
  it("are moved on by the next instance, whatever was answered meanwhile", async () => {
    await using fixture = await startFixture();
    const first = await fixture.startJobs();
    const bucket = openBucket(fixture.policy.bus, "approvals", Approval);
    fixture.policy.answer = async (request) => {
      if (request.action !== "start_job") return allow;
      const approvalId = createId("apr");
      await bucket.create(approvalId, approvalOf(approvalId, request));
      return { ...allow, outcome: "ask", reason: "it is large", approval_id: approvalId };
    };
    const jobs: Job[] = [];
    for (let i = 0; i < 3; i++) jobs.push(await fixture.call(submitJob, { ...spec, name: `n${i}` }));
    await first[Symbol.asyncDispose]();
    const [yes, no, gone] = await Promise.all(
      jobs.map(({ approval_id }) => waitFor("the approval", () => bucket.get(approval_id ?? ""))),
    );
    if (!yes || !no || !gone) throw new Error("three jobs have three approvals");
    await bucket.update(yes.value.id, { ...yes.value, state: "approved" }, yes.revision);
    await bucket.update(no.value.id, { ...no.value, state: "denied" }, no.revision);
    await bucket.remove(gone.value.id, gone.revision);
    await fixture.startJobs();
    const states = () => Promise.all(jobs.map(async ({ id }) => (await fixture.call(getJob, { id })).state));
    await waitFor("all to be moved on", async () => String(await states()) === "queued,denied,expired");
  });
});

function approvalOf(
  id: string,
  { principal, action, resource, context, digest, ask, job_id }: DecideRequest,
): Approval {
  const now = new Date().toISOString();
  if (!ask || !digest) throw new Error("nobody can be asked without a digest and a preview");
  return Approval.parse({
    ...{ id, state: "pending", digest, action, intent_id: null, facts: context },
    requester: { principal: `user:${principal.id}`, uid: principal.uid ?? null, owner: null },
    resource: { type: resource.type, id: resource.id, owner: resource.owner },
    subjects: [{ subject: ask.subject, job_id, at: now }],
    ...{ why: [], ask: "May it?", preview: ask.preview, options: [], default: "reject_once" },
    ...{ created_at: now, expires_at: now, answered_at: null, answered_by: null, answer: null, comment: null },
    ...{ grant_id: null, supersedes: null, uses: [] },
  });
}
