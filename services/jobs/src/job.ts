// A job and every legal change of it: pure functions from a record to the next one, after the table of states in
// docs/jobs.md. Time and ids are passed in. A function answers null where the change does not apply any more (it has been
// made already, or another came first): the caller then writes nothing.
//
// Every change appends exactly one transition, with the revision the record had before it. So the record tells its whole
// history, and whoever follows the stream can name the revision of each step although only the last one is kept.
import {
  type AttemptEvent,
  isTerminal,
  type Job,
  JobArtifact,
  JobAttempt,
  JobEnforced,
  JobReason,
  JobSecret,
  JobSpec,
  JobState,
  JobUsage,
  limits,
  type RetryCause,
  requireDurationMs,
} from "@aether/contracts";
import { z } from "zod";

const Transition = z.object({
  from: JobState.nullable(),
  to: JobState,
  reason: JobReason.nullable(),
  attempt: z.int(),
  at: z.iso.datetime(),
  /** Revision of the record before this transition was written; 0 for the first. */
  after: z.int(),
});

const Stopping = z.object({ how: z.enum(["stop", "kill", "timeout"]), grace_ms: z.int() });

/** The record as it is stored: the public one's facts, and what only the jobs service needs. */
export const StoredJob = z.object({
  id: z.string(),
  owner: z.string(),
  /** Who submitted it must not be who answers what policy asks about it. */
  submitter_uid: z.int().nullish(),
  spec: JobSpec,
  /** SHA-256 of spec and inputs: what the decision of each start is bound to. */
  digest: z.string(),
  intent_id: z.string().nullable(),
  /** The trace that the submit belongs to; starts and events go on with it. */
  traceparent: z.string().nullish(),
  /** What the inputs were when they were asked for: an attempt is given these bytes or none. */
  inputs: z.array(z.object({ artifact: z.string(), sha256: z.string(), size_bytes: z.int() })).default([]),
  /** Which values the secrets had when they were asked for. */
  secrets: z.array(JobSecret).default([]),
  /** What the last attempt left. */
  artifacts: z.array(JobArtifact).default([]),
  state: JobState,
  reason: JobReason.nullable(),
  message: z.string().nullable(),
  attempt: z.int(),
  /** Attempts that were released; the others cost nothing. */
  released: z.int(),
  start_failures: z.int(),
  not_before: z.iso.datetime().nullable(),
  /** The newest approval that this job waits or has waited for. */
  approval_id: z.string().nullable().default(null),
  worker: z.string().nullable(),
  incarnation: z.string().nullable(),
  secret_hash: z.string().nullable(),
  stopping: Stopping.nullable(),
  driver: z.string().nullable(),
  exit_code: z.int().nullable(),
  signal: z.string().nullable(),
  policy_version: z.string().nullable(),
  created_at: z.iso.datetime(),
  queued_at: z.iso.datetime().nullable(),
  claimed_at: z.iso.datetime().nullable(),
  started_at: z.iso.datetime().nullable(),
  ended_at: z.iso.datetime().nullable(),
  runtime_ms: z.int().nullable(),
  usage: JobUsage.nullable(),
  enforced: JobEnforced.nullable(),
  logs: z.object({ last_seq: z.int(), bytes: z.int(), truncated: z.boolean() }),
  attempts: z.array(JobAttempt),
  transitions: z.array(Transition),
});
export type StoredJob = z.infer<typeof StoredJob>;

/** A question that a person was asked about a start. */
export interface Asked {
  approvalId: string;
  reason: string;
}

/** What became of such a question. */
export interface Answered {
  id: string;
  answer: "yes" | "no" | "expired";
  message: string;
}

/** When and after which revision a change is made. */
export interface At {
  now: Date;
  revision: number;
}

/** A job as accepted. */
export function accept(
  input: {
    id: string;
    owner: string;
    submitterUid?: number | null;
    spec: JobSpec;
    digest: string;
    intentId: string | null;
    traceparent?: string | undefined;
    inputs: StoredJob["inputs"];
    secrets?: StoredJob["secrets"];
    policyVersion: string | null;
  },
  now: Date,
): StoredJob {
  const at = now.toISOString();
  return {
    id: input.id,
    owner: input.owner,
    submitter_uid: input.submitterUid ?? null,
    spec: input.spec,
    digest: input.digest,
    intent_id: input.intentId,
    traceparent: input.traceparent ?? null,
    inputs: input.inputs,
    secrets: input.secrets ?? [],
    artifacts: [],
    state: "queued",
    reason: null,
    message: null,
    attempt: 0,
    released: 0,
    start_failures: 0,
    not_before: null,
    approval_id: null,
    worker: null,
    incarnation: null,
    secret_hash: null,
    stopping: null,
    driver: null,
    exit_code: null,
    signal: null,
    policy_version: input.policyVersion,
    created_at: at,
    queued_at: at,
    claimed_at: null,
    started_at: null,
    ended_at: null,
    runtime_ms: null,
    usage: null,
    enforced: null,
    logs: { last_seq: 0, bytes: 0, truncated: false },
    attempts: [],
    transitions: [{ from: null, to: "queued", reason: null, attempt: 0, at, after: 0 }],
  };
}

/** The same where policy asks a person before it is queued. */
export function holdBack(accepted: StoredJob, { approvalId, reason }: Asked): StoredJob {
  const transitions = accepted.transitions.map((first) => ({ ...first, to: "awaiting_approval" as const }));
  return {
    ...accepted,
    state: "awaiting_approval",
    approval_id: approvalId,
    message: reason,
    queued_at: null,
    transitions,
  };
}

/** `queued` → `starting` for one incarnation, attempt and secret. */
export function claim(
  job: StoredJob,
  by: { worker: string; incarnation: string; secretHash: string; policyVersion: string },
  at: At,
): StoredJob | null {
  if (job.state !== "queued") return null;
  const attempt = job.attempt + 1;
  return move(
    {
      ...job,
      attempt,
      worker: by.worker,
      incarnation: by.incarnation,
      secret_hash: by.secretHash,
      policy_version: by.policyVersion,
      claimed_at: at.now.toISOString(),
      not_before: null,
      artifacts: [],
      usage: null,
      enforced: null,
      exit_code: null,
      signal: null,
      runtime_ms: null,
    },
    "starting",
    null,
    at,
  );
}

/**
 * `starting` → `running`: stored before the command is released. What was to be stopped by then and never ran has ended: its
 * worker is refused, and executes nothing.
 */
export function run(
  job: StoredJob,
  report: Extract<AttemptEvent, { event: "running" }>,
  random: number,
  at: At,
): StoredJob | null {
  const isReleased = job.attempts.some(({ attempt }) => attempt === job.attempt);
  if (job.state === "stopping" && !isReleased) return endAsAsked(job, random, at);
  if (job.state !== "starting") return null;
  const now = at.now.toISOString();
  const attempts = [
    ...job.attempts,
    {
      attempt: job.attempt,
      worker: job.worker ?? "",
      started_at: now,
      ended_at: null,
      exit_code: null,
      signal: null,
      reason: null,
    },
  ];
  return move(
    { ...job, attempts, started_at: now, released: job.released + 1, driver: report.driver, enforced: report.enforced },
    "running",
    null,
    at,
  );
}

/** Asked by a person: to be stopped or killed. A job that never started ends at once. */
export function requestEnd(job: StoredJob, how: "stop" | "kill", graceMs: number | null, at: At): StoredJob | null {
  if (isTerminal(job.state)) return null;
  if (job.state === "queued" || job.state === "blocked" || job.state === "awaiting_approval") {
    const quiet = job.state === "awaiting_approval" ? { ...job, message: null } : job;
    return end(quiet, how === "stop" ? "stopped" : "killed", "requested", at);
  }
  const before = job.state === "stopping" ? job.stopping : null;
  if (before?.how === "kill" || before?.how === how) return null;
  // A stop in the grace of a timeout: what its worker does already, and what is asked now, that it does not run again.
  const grace_ms = how === "kill" ? 0 : (before?.grace_ms ?? graceMs ?? requireDurationMs(job.spec.grace));
  return move({ ...job, stopping: { how, grace_ms } }, "stopping", "requested", at);
}

/** The worker ended it because its time was up. */
export function timeOut(job: StoredJob, at: At): StoredJob | null {
  if (job.state !== "running") return null;
  return move(
    { ...job, stopping: { how: "timeout", grace_ms: requireDurationMs(job.spec.grace) } },
    "stopping",
    "timeout",
    at,
  );
}

/** What cannot be killed stays `stopping` and says so. */
export function markUnkillable(job: StoredJob, message: string, at: At): StoredJob | null {
  if ((job.state !== "stopping" && job.state !== "running") || job.message === message) return null;
  const stopping = job.stopping ?? { how: "kill" as const, grace_ms: 0 };
  return move({ ...job, message, stopping }, "stopping", job.reason, at);
}

/** The tree is empty and its outputs are stored: the attempt has ended, by itself or as asked. */
export function finish(
  job: StoredJob,
  report: Extract<AttemptEvent, { event: "ended" }>,
  random: number,
  at: At,
): StoredJob | null {
  if (job.state !== "running" && job.state !== "stopping") return null;
  const done: StoredJob = {
    ...job,
    exit_code: report.exit_code,
    signal: report.signal,
    runtime_ms: report.runtime_ms,
    usage: report.usage,
    logs: report.logs,
    artifacts: report.artifacts,
    message: report.outputs?.message ?? job.message,
  };
  if (job.state === "stopping") return endAsAsked(done, random, at);
  if (report.oom_killed && report.exit_code !== 0) return endAttempt(done, "failed", "oom_killed", "oom", random, at);
  if (report.signal !== null) return endAttempt(done, "failed", "signal", "signal", random, at);
  if (report.exit_code !== 0) return endAttempt(done, "failed", "exit_nonzero", "exit", random, at);
  if (report.outputs) return endAttempt(done, "failed", report.outputs.fault, null, random, at);
  return endAttempt(done, "succeeded", null, null, random, at);
}

/** Its worker is gone, or no longer holds it. `lastSeq` is the log's end after the fencing marker. */
export function lose(
  job: StoredJob,
  reason: "worker_lost" | "lease_expired",
  logs: StoredJob["logs"] | null,
  random: number,
  at: At,
): StoredJob | null {
  const kept = logs ? { ...job, logs } : job;
  if (job.state === "starting") return restart(kept, null, at);
  if (job.state === "stopping") return endAsAsked(kept, random, at);
  if (job.state === "running") return endAttempt(kept, "lost", reason, "lost", random, at);
  return null;
}

/** Before release something failed: a typed refusal ends the job, any other error is tried again, five times at most. */
export function refuse(
  job: StoredJob,
  reason: "sandbox_unavailable" | "input_missing" | "start_failed",
  message: string,
  at: At,
): StoredJob | null {
  if (job.state === "stopping") return endAsAsked({ ...job, message }, 0, at);
  if (job.state !== "starting") return null;
  if (reason !== "start_failed") return end({ ...job, message }, "failed", reason, at);
  return restart(job, message, at);
}

/** Policy asks a person about the start of this attempt: it waits, and no time of the queue runs. */
export function awaitApproval(job: StoredJob, { approvalId, reason }: Asked, at: At): StoredJob | null {
  if (job.state !== "queued") return null;
  return move({ ...job, approval_id: approvalId, message: reason, queued_at: null }, "awaiting_approval", null, at);
}

/**
 * What it waits for was answered, or never will be; or a yes was taken back before it started. A yes only queues it: whether it
 * may start is decided when it starts. What became of a question that it does not stand on any more changes nothing.
 */
export function settle(job: StoredJob, { id, answer, message }: Answered, at: At): StoredJob | null {
  const waits = job.state === "awaiting_approval";
  if (job.approval_id !== id || !(waits || (job.state === "queued" && answer === "no"))) return null;
  if (answer === "yes") return move({ ...job, message: null, queued_at: at.now.toISOString() }, "queued", null, at);
  if (answer === "no") return end({ ...job, message }, "denied", "policy_denied", at);
  return end({ ...job, message }, "expired", "approval_expired", at);
}

/** Policy denies the start of this attempt. */
export function denyStart(job: StoredJob, message: string, at: At): StoredJob | null {
  return job.state === "queued" ? end({ ...job, message }, "denied", "policy_denied", at) : null;
}

/** Waited too long in the queue. */
export function expire(job: StoredJob, at: At): StoredJob | null {
  return job.state === "queued" ? end(job, "expired", "queue_timeout", at) : null;
}

/** When the wait in the queue is over. */
export function queueEndsAt(job: StoredJob): Date | null {
  return job.queued_at ? new Date(Date.parse(job.queued_at) + requireDurationMs(job.spec.queue_timeout)) : null;
}

function endAsAsked(job: StoredJob, random: number, at: At): StoredJob {
  const how = job.stopping?.how ?? "kill";
  if (how === "timeout") return endAttempt(job, "timed_out", "timeout", "timeout", random, at);
  return end(closeAttempt(job, "requested", at), how === "stop" ? "stopped" : "killed", "requested", at);
}

/** Ends an attempt: the job with it, or, where `retry` names the cause and attempts are left, until after the backoff. */
function endAttempt(
  job: StoredJob,
  state: JobState,
  reason: JobReason | null,
  cause: RetryCause | null,
  random: number,
  at: At,
): StoredJob {
  const closed = closeAttempt(job, reason, at);
  const { retry } = job.spec;
  if (!retry || cause === null || !retry.on.includes(cause) || job.released >= retry.max_attempts)
    return end(closed, state, reason, at);
  const { initial, factor, max, jitter } = retry.backoff;
  const wait =
    Math.min(requireDurationMs(max), requireDurationMs(initial) * factor ** (job.released - 1)) *
    (1 + jitter * (2 * random - 1));
  return queueAgain({ ...closed, not_before: new Date(at.now.getTime() + wait).toISOString() }, reason, at);
}

/** Nothing was executed: it is queued again at no cost, the fifth time it fails. */
function restart(job: StoredJob, message: string | null, at: At): StoredJob {
  const start_failures = job.start_failures + 1;
  const next = { ...job, start_failures, message: message ?? job.message };
  if (start_failures >= limits.startFailuresMax) return end(next, "failed", "start_failed", at);
  return queueAgain(next, null, at);
}

function queueAgain(job: StoredJob, reason: JobReason | null, at: At): StoredJob {
  return move(
    { ...job, queued_at: at.now.toISOString(), incarnation: null, secret_hash: null, stopping: null },
    "queued",
    reason,
    at,
  );
}

function closeAttempt(job: StoredJob, reason: JobReason | null, at: At): StoredJob {
  const attempts = job.attempts.map((attempt) =>
    attempt.attempt === job.attempt && attempt.ended_at === null
      ? { ...attempt, ended_at: at.now.toISOString(), exit_code: job.exit_code, signal: job.signal, reason }
      : attempt,
  );
  return { ...job, attempts };
}

function end(job: StoredJob, state: JobState, reason: JobReason | null, at: At): StoredJob {
  return move({ ...job, ended_at: at.now.toISOString(), not_before: null, secret_hash: null }, state, reason, at);
}

function move(job: StoredJob, to: JobState, reason: JobReason | null, at: At): StoredJob {
  const from = job.transitions.at(-1)?.to ?? null;
  const transition = { from, to, reason, attempt: job.attempt, at: at.now.toISOString(), after: at.revision };
  return { ...job, state: to, reason, transitions: [...job.transitions, transition] };
}

/** The record as everybody sees it. */
export function toPublic(job: StoredJob, revision: number): Job {
  const { spec } = job;
  return {
    id: job.id,
    job_id: job.id,
    name: spec.name,
    owner: job.owner,
    intent_id: job.intent_id,
    labels: spec.labels,
    state: job.state,
    reason: job.reason,
    message: job.message,
    spec,
    pool: spec.pool,
    priority: spec.priority,
    attempt: job.attempt,
    max_attempts: spec.retry?.max_attempts ?? 1,
    worker: job.worker,
    driver: job.driver,
    exit_code: job.exit_code,
    signal: job.signal,
    approval_id: job.approval_id,
    policy_version: job.policy_version,
    created_at: job.created_at,
    queued_at: job.queued_at,
    started_at: job.started_at,
    ended_at: job.ended_at,
    queued_ms: between(job.queued_at, job.claimed_at ?? job.ended_at),
    runtime_ms: job.runtime_ms,
    usage: job.usage,
    enforced: job.enforced,
    logs: job.logs,
    attempts: job.attempts,
    artifacts: job.artifacts,
    revision,
  };
}

function between(from: string | null, to: string | null): number | null {
  return from && to ? Math.max(0, Date.parse(to) - Date.parse(from)) : null;
}
