// The table of states: every change against every state, legal and illegal.
import { type AttemptEvent, JobSpec, type JobState, jobStates, limits } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import {
  type At,
  accept,
  awaitApproval,
  claim,
  denyStart,
  expire,
  finish,
  holdBack,
  lose,
  markUnkillable,
  queueEndsAt,
  refuse,
  requestEnd,
  run,
  type StoredJob,
  settle,
  timeOut,
  toPublic,
} from "./job.ts";

const now = new Date("2026-01-01T00:00:00.000Z");
const at: At = { now, revision: 7 };
const running: Extract<AttemptEvent, { event: "running" }> = {
  event: "running",
  driver: "bubblewrap",
  enforced: { memory: "none", cpus: "none", pids: "none", disk: "none", io: "none" },
};

const question = { approvalId: "apr_x", reason: "it is large" };

function ended(exitCode: number | null, more: { signal?: string; oom?: boolean } = {}) {
  return {
    event: "ended" as const,
    exit_code: exitCode,
    signal: more.signal ?? null,
    oom_killed: more.oom ?? false,
    runtime_ms: 1,
    usage: {
      ...{ cpu_ms: 1, memory_peak_bytes: 1, io_read_bytes: 0, io_write_bytes: 0 },
      ...{ oom_kills: 0, pids_peak: 1, gpu_ms: 0, gpu_memory_peak_bytes: 0 },
    },
    logs: { last_seq: 0, bytes: 0, truncated: false },
    artifacts: [],
    outputs: null,
  };
}

function jobIn(state: JobState, more: Partial<StoredJob> = {}, spec: object = {}): StoredJob {
  const parsed = JobSpec.parse({ command: ["true"], ...spec });
  const job = accept(
    { id: "job_x", owner: "user:1", spec: parsed, digest: "d", intentId: null, inputs: [], policyVersion: null },
    now,
  );
  const by = { worker: "host-a", incarnation: "wrk_x", secretHash: "h", policyVersion: "v" };
  const claimed = claim(job, by, at) ?? job;
  const started = run(claimed, running, 0, at) ?? claimed;
  const base = state === "queued" ? job : state === "starting" ? claimed : started;
  return { ...base, state, ...more };
}

/** What a change makes of a job in each state; states that are not named are left alone. */
function outcomes(
  change: (job: StoredJob) => StoredJob | null,
  more: Partial<StoredJob> = {},
): Partial<Record<JobState, string>> {
  return Object.fromEntries(
    jobStates.flatMap((state) => {
      const next = change(
        jobIn(state, { ...(state === "stopping" && { stopping: { how: "stop", grace_ms: 1 } }), ...more }),
      );
      return next ? [[state, next.reason ? `${next.state}/${next.reason}` : next.state]] : [];
    }),
  );
}

describe("job", () => {
  it.each<[string, (job: StoredJob) => StoredJob | null, Partial<Record<JobState, string>>]>([
    [
      "claim",
      (job) => claim(job, { worker: "w", incarnation: "i", secretHash: "h", policyVersion: "v" }, at),
      { queued: "starting" },
    ],
    ["run", (job) => run(job, running, 0, at), { starting: "running" }],
    ["time out", (job) => timeOut(job, at), { running: "stopping/timeout" }],
    ["deny the start", (job) => denyStart(job, "no", at), { queued: "denied/policy_denied" }],
    ["ask a person", (job) => awaitApproval(job, question, at), { queued: "awaiting_approval" }],
    ["expire", (job) => expire(job, at), { queued: "expired/queue_timeout" }],
    ["exit 0", (job) => finish(job, ended(0), 0, at), { running: "succeeded", stopping: "stopped/requested" }],
    [
      "exit 3",
      (job) => finish(job, ended(3), 0, at),
      { running: "failed/exit_nonzero", stopping: "stopped/requested" },
    ],
    [
      "signal",
      (job) => finish(job, ended(null, { signal: "SIGSEGV" }), 0, at),
      { running: "failed/signal", stopping: "stopped/requested" },
    ],
    [
      "out of memory",
      (job) => finish(job, ended(1, { oom: true }), 0, at),
      { running: "failed/oom_killed", stopping: "stopped/requested" },
    ],
    [
      "a child out of memory",
      (job) => finish(job, ended(0, { oom: true }), 0, at),
      { running: "succeeded", stopping: "stopped/requested" },
    ],
    [
      "too many outputs",
      (job) => finish(job, { ...ended(0), outputs: { fault: "output_limit", message: "m" } }, 0, at),
      { running: "failed/output_limit", stopping: "stopped/requested" },
    ],
    [
      "exit 1 and lost outputs",
      (job) => finish(job, { ...ended(1), outputs: { fault: "output_lost", message: "m" } }, 0, at),
      { running: "failed/exit_nonzero", stopping: "stopped/requested" },
    ],
    [
      "an input that is missing",
      (job) => refuse(job, "input_missing", "m", at),
      { starting: "failed/input_missing", stopping: "stopped/requested" },
    ],
    [
      "worker lost",
      (job) => lose(job, "worker_lost", null, 0, at),
      { starting: "queued", running: "lost/worker_lost", stopping: "stopped/requested" },
    ],
    [
      "lease expired",
      (job) => lose(job, "lease_expired", null, 0, at),
      { starting: "queued", running: "lost/lease_expired", stopping: "stopped/requested" },
    ],
    [
      "no sandbox",
      (job) => refuse(job, "sandbox_unavailable", "m", at),
      { starting: "failed/sandbox_unavailable", stopping: "stopped/requested" },
    ],
    [
      "start failed",
      (job) => refuse(job, "start_failed", "m", at),
      { starting: "queued", stopping: "stopped/requested" },
    ],
    ["unkillable", (job) => markUnkillable(job, "m", at), { running: "stopping", stopping: "stopping" }],
  ])("%s applies in its states only", (_change, change, expected) => {
    expect(outcomes(change)).toEqual(expected);
  });

  it("a stop or kill ends at once what has not started, and never what has ended", () => {
    const stop = outcomes((job) => requestEnd(job, "stop", null, at));
    const kill = outcomes((job) => requestEnd(job, "kill", null, at));
    for (const waiting of ["queued", "blocked", "awaiting_approval"] as const) {
      expect([stop[waiting], kill[waiting]]).toEqual(["stopped/requested", "killed/requested"]);
    }
    expect([stop.running, kill.running]).toEqual(["stopping/requested", "stopping/requested"]);
    expect([stop.stopping, kill.stopping]).toEqual([undefined, "stopping/requested"]);
    for (const state of [
      "succeeded",
      "failed",
      "stopped",
      "killed",
      "timed_out",
      "lost",
      "expired",
      "denied",
    ] as const) {
      expect([stop[state], kill[state]]).toEqual([undefined, undefined]);
    }
  });

  it.each([
    ["yes", { awaiting_approval: "queued" }],
    // Also what was queued by a yes that is taken back.
    ["no", { awaiting_approval: "denied/policy_denied", queued: "denied/policy_denied" }],
    ["expired", { awaiting_approval: "expired/approval_expired" }],
  ] as const)("an answer of %s settles what stands on exactly that, and nothing else", (answer, expected) => {
    const answered = (id: string) => (job: StoredJob) => settle(job, { id, answer, message: "m" }, at);
    expect(outcomes(answered("apr_x"), { approval_id: "apr_x" })).toEqual(expected);
    expect(outcomes(answered("apr_y"), { approval_id: "apr_x" })).toEqual({});
  });

  it("no time of the queue runs while a job waits for a person, before its start or at it", () => {
    const job = holdBack(jobIn("queued"), question);
    expect(job.transitions).toEqual([expect.objectContaining({ from: null, to: "awaiting_approval", after: 0 })]);
    expect(job).toMatchObject({ state: "awaiting_approval", approval_id: "apr_x", message: "it is large" });
    expect(queueEndsAt(job)).toBeNull();
    const later: At = { now: new Date(now.getTime() + 3_600_000), revision: 8 };
    const queued = settle(job, { id: "apr_x", answer: "yes", message: "" }, later);
    expect(queued).toMatchObject({ state: "queued", queued_at: later.now.toISOString(), message: null });
    const again = queued && awaitApproval(queued, { approvalId: "apr_y", reason: "again" }, later);
    expect(again).toMatchObject({ state: "awaiting_approval", approval_id: "apr_y", queued_at: null });
  });

  it("retry queues again while attempts are left, after a backoff that grows to its maximum", () => {
    const spec = {
      retry: { max_attempts: 4, on: ["exit"], backoff: { initial: "1s", factor: 10, max: "20s", jitter: 0 } },
    };
    const waits = [1, 2, 3].map((released) => {
      const next = finish(jobIn("running", { released }, spec), ended(1), 0.5, at);
      expect(next).toMatchObject({ state: "queued", reason: "exit_nonzero" });
      return Date.parse(next?.not_before ?? "") - now.getTime();
    });
    expect(waits).toEqual([1_000, 10_000, 20_000]);
    expect(finish(jobIn("running", { released: 4 }, spec), ended(1), 0.5, at)).toMatchObject({
      state: "failed",
      not_before: null,
    });
    expect(finish(jobIn("running", {}, spec), ended(null, { signal: "SIGKILL" }), 0.5, at)).toMatchObject({
      state: "failed",
    });
  });

  it("the fifth failure before release is the last", () => {
    const failing = jobIn("starting", { start_failures: limits.startFailuresMax - 1 });
    expect(refuse(failing, "start_failed", "m", at)).toMatchObject({
      state: "failed",
      reason: "start_failed",
      released: 0,
    });
  });

  it("every change appends one transition with the revision before it", () => {
    const job = jobIn("running");
    expect(job.transitions.map(({ from, to, after }) => [from, to, after])).toEqual([
      [null, "queued", 0],
      ["queued", "starting", 7],
      ["starting", "running", 7],
    ]);
  });

  it("what is public tells no secret", () => {
    const secrets = [{ id: "user:1000/db", value_id: "pinned" }];
    const shown = JSON.stringify(toPublic(jobIn("running", { secrets }), 3));
    for (const hidden of ["secret_hash", "pinned", "incarnation", "transitions"]) expect(shown).not.toContain(hidden);
  });
});
