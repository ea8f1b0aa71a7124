// The jobs service: the record of a job, its states, and the operations that people and agents call.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { ApprovalId, ArtifactId, IntentId, JobId } from "./ids.ts";
import { limits } from "./limits.ts";
import { LogPage, LogQuery, LogReadRequest } from "./logs.ts";
import { JobSpec } from "./spec.ts";
import { durationSchema } from "./units.ts";

export const jobStates = [
  "queued",
  "blocked",
  "awaiting_approval",
  "starting",
  "running",
  "stopping",
  "succeeded",
  "failed",
  "stopped",
  "killed",
  "timed_out",
  "lost",
  "expired",
  "denied",
] as const;
export const JobState = z.enum(jobStates);
export type JobState = z.infer<typeof JobState>;

const terminal: ReadonlySet<JobState> = new Set([
  "succeeded",
  "failed",
  "stopped",
  "killed",
  "timed_out",
  "lost",
  "expired",
  "denied",
]);

/** Whether a job in this state has ended for good. */
export function isTerminal(state: JobState): boolean {
  return terminal.has(state);
}

export const JobReason = z.enum([
  "requested",
  "timeout",
  "queue_timeout",
  "exit_nonzero",
  "signal",
  "oom_killed",
  "output_limit",
  "output_lost",
  "lease_expired",
  "worker_lost",
  "start_failed",
  "sandbox_unavailable",
  "image_missing",
  "gpu_unavailable",
  "input_missing",
  "policy_denied",
  "approval_expired",
  "dependency_failed",
]);
export type JobReason = z.infer<typeof JobReason>;

const time = z.iso.datetime().describe("RFC 3339, UTC, milliseconds");

export const JobUsage = z.object({
  cpu_ms: z.int(),
  memory_peak_bytes: z.int(),
  io_read_bytes: z.int(),
  io_write_bytes: z.int(),
  oom_kills: z.int(),
  pids_peak: z.int(),
  gpu_ms: z.int(),
  gpu_memory_peak_bytes: z.int(),
});
export type JobUsage = z.infer<typeof JobUsage>;

export const JobEnforced = z.object({
  memory: z.string(),
  cpus: z.string(),
  pids: z.string(),
  disk: z.string(),
  io: z.string(),
});
export type JobEnforced = z.infer<typeof JobEnforced>;

export const JobAttempt = z.object({
  attempt: z.int(),
  worker: z.string(),
  started_at: time.nullable(),
  ended_at: time.nullable(),
  exit_code: z.int().nullable(),
  signal: z.string().nullable(),
  reason: JobReason.nullable(),
});
export type JobAttempt = z.infer<typeof JobAttempt>;

/** A file that the job left, as the artifact that it became. */
export const JobArtifact = z.object({
  id: ArtifactId,
  path: z.string().describe("Where the job had it"),
  size_bytes: z.int(),
  sha256: z.string(),
});
export type JobArtifact = z.infer<typeof JobArtifact>;

/** The record as `GET /v0/jobs/{id}` answers it. What is not known yet is null, never absent. */
export const Job = z.object({
  id: JobId,
  job_id: JobId,
  name: z.string().nullable(),
  owner: z.string().describe("Principal that submitted it, `user:<uid>`"),
  intent_id: IntentId.nullable(),
  labels: z.record(z.string(), z.string()),
  state: JobState,
  reason: JobReason.nullable(),
  message: z.string().nullable().describe("The reason in words, where words help"),
  spec: JobSpec.describe("The spec as accepted, with every default filled in"),
  pool: z.string(),
  priority: z.int(),
  attempt: z.int().describe("Number of the current attempt, 0 before the first"),
  max_attempts: z.int(),
  worker: z.string().nullable(),
  driver: z.string().nullable(),
  exit_code: z.int().nullable(),
  signal: z.string().nullable(),
  approval_id: ApprovalId.nullable(),
  policy_version: z.string().nullable(),
  created_at: time,
  queued_at: time.nullable(),
  started_at: time.nullable(),
  ended_at: time.nullable(),
  queued_ms: z.int().nullable(),
  runtime_ms: z.int().nullable(),
  usage: JobUsage.nullable(),
  enforced: JobEnforced.nullable(),
  logs: z.object({ last_seq: z.int(), bytes: z.int(), truncated: z.boolean() }),
  attempts: z.array(JobAttempt),
  artifacts: z.array(JobArtifact).describe("What the last attempt left"),
  revision: z.int(),
});
export type Job = z.infer<typeof Job>;

export const JobList = z.object({ items: z.array(Job), next_cursor: z.string().nullable() });
export type JobList = z.infer<typeof JobList>;

const wait = durationSchema(0, limits.waitMaxMs)
  .optional()
  .describe("Answer when the job ends or this time is up, at most 60s");

export const submitJob = defineOperation({
  name: "jobs.submit",
  kind: "unary",
  summary: "Submit a job",
  http: { method: "POST", path: "/jobs", status: 201, query: z.strictObject({ wait }) },
  request: JobSpec,
  reply: Job,
  problems: [
    "invalid-request",
    "policy-denied",
    "conflict",
    "idempotency-conflict",
    "too-large",
    "storage-full",
    "audit-unavailable",
  ],
  access: { action: "submit_job", resource: "Job", owner: "caller", record: "before" },
  callers: ["gateway", "memory"],
  retry: "with-key",
  creates: "job",
});

export const getJob = defineOperation({
  name: "jobs.get",
  kind: "unary",
  summary: "Read a job",
  http: { method: "GET", path: "/jobs/{id}", status: 200 },
  request: z.strictObject({ id: JobId, wait }),
  reply: Job,
  problems: ["invalid-request", "not-found"],
  access: { action: "read_job", resource: "Job", owner: "record", record: "summary" },
  callers: ["gateway", "memory"],
  retry: "safe",
  timeoutMs: limits.waitMaxMs + limits.requestDeadlineMs,
});

export const listJobs = defineOperation({
  name: "jobs.list",
  kind: "unary",
  summary: "List jobs, newest first",
  http: { method: "GET", path: "/jobs", status: 200 },
  request: z.strictObject({
    state: z.array(JobState).max(jobStates.length).optional().describe("Only these states"),
    label: z
      .array(z.string().regex(/^[^=]{1,63}=.*$/s, "must be k=v"))
      .max(8)
      .optional()
      .describe("Only with these labels, `k=v`"),
    intent_id: IntentId.optional(),
    pool: z.string().max(63).optional(),
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: z.string().max(200).optional(),
    min_revision: z.int().min(0).optional().describe("Wait until the view has seen this revision"),
  }),
  reply: JobList,
  problems: ["invalid-request"],
  access: { action: "list_jobs", resource: "Jobs", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const readLogs = defineOperation({
  name: "jobs.logs",
  kind: "pages",
  summary: "Read or follow the log of a job",
  http: { method: "GET", path: "/jobs/{id}/logs", status: 200, query: LogQuery },
  request: LogReadRequest,
  reply: LogPage,
  bytes: "reply",
  problems: ["invalid-request", "not-found"],
  access: { action: "read_logs", resource: "Job", owner: "record", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const stopJob = defineOperation({
  name: "jobs.stop",
  kind: "unary",
  summary: "Stop a job: SIGTERM, then SIGKILL after the grace period",
  http: { method: "POST", path: "/jobs/{id}/stop", status: 202 },
  request: z.strictObject({
    id: JobId,
    grace: durationSchema(0, limits.graceMaxMs).optional().describe("Instead of the spec's grace"),
  }),
  reply: Job,
  problems: ["invalid-request", "not-found", "policy-denied", "audit-unavailable"],
  access: { action: "stop_job", resource: "Job", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const killJob = defineOperation({
  name: "jobs.kill",
  kind: "unary",
  summary: "Kill a job at once",
  http: { method: "POST", path: "/jobs/{id}/kill", status: 202 },
  request: z.strictObject({ id: JobId }),
  reply: Job,
  problems: ["invalid-request", "not-found", "policy-denied", "audit-unavailable"],
  access: { action: "kill_job", resource: "Job", owner: "record", record: "before" },
  callers: ["gateway", "memory"],
  retry: "safe",
});
