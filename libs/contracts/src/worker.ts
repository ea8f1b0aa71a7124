// What a worker may call: claim work, renew its lease, report what became of an attempt, deliver its log. None of these asks
// policy: they carry out a start that policy has already decided and recorded, and are fenced by the worker's own subject,
// the incarnation and the attempt's secret. So a policy that is down never ends a running job by starving its lease.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { ArtifactId, IntentId, JobId } from "./ids.ts";
import { JobArtifact, JobEnforced, JobState, JobUsage } from "./jobs.ts";
import { limits } from "./limits.ts";
import { LogBatch } from "./logs.ts";
import { JobSpec } from "./spec.ts";

const fenced = (reason: string) => ({ exempt: "fenced", reason }) as const;

/** One run of one worker process; a restarted worker is a new incarnation. */
export const IncarnationId = z.string().regex(/^wrk_[0-9a-z]{26}$/);

export const Capacity = z.strictObject({
  cpus: z.number().min(0),
  memory_bytes: z.int().min(0),
  /** Room for the disks of jobs; null where they are memory. */
  disk_bytes: z.int().min(0).nullable().default(null),
  slots: z.int().min(0),
});
export type Capacity = z.infer<typeof Capacity>;

export const Claim = z.object({
  job_id: JobId,
  attempt: z.int(),
  secret: z.string(),
  owner: z.string(),
  intent_id: IntentId.nullable(),
  /** The trace that the submit belongs to. */
  traceparent: z.string().nullish(),
  spec: JobSpec,
  /** The digests of the inputs, as they were when the job was submitted. */
  inputs: z.array(z.object({ artifact: ArtifactId, sha256: z.string(), size_bytes: z.int() })),
  /** Where the log goes on: seq and bytes that earlier attempts have used, and what the job may use. */
  log: z.object({ last_seq: z.int(), bytes: z.int(), max_bytes: z.int() }),
});
export type Claim = z.infer<typeof Claim>;

export const claimJobs = defineOperation({
  name: "jobs.claim",
  kind: "unary",
  summary: "Claim queued jobs that fit",
  request: z.strictObject({
    incarnation: IncarnationId,
    pools: z.array(z.string()).min(1).max(32),
    drivers: z.array(z.string()).max(8),
    free: Capacity,
    max: z.int().min(1).max(64),
    wait_ms: z.int().min(0).max(limits.requestDeadlineMs),
  }),
  reply: z.object({ claims: z.array(Claim) }),
  problems: ["conflict"],
  access: fenced("each claim asks policy for start_job on behalf of the job's owner"),
  callers: ["worker"],
  retry: "safe",
  timeoutMs: 2 * limits.requestDeadlineMs,
});

export const renewWorker = defineOperation({
  name: "jobs.renew",
  kind: "unary",
  summary: "Renew the lease of a worker incarnation and learn what is to be stopped",
  request: z.strictObject({
    incarnation: IncarnationId,
    /** Counts this incarnation's heartbeats from 1. */
    beat: z.int().min(1),
    capacity: Capacity,
    pools: z.array(z.string()).min(1).max(32),
    drivers: z.array(z.string()).max(8),
    degraded: z.string().nullable(),
    leaving: z.boolean(),
    held: z
      .array(z.strictObject({ job_id: JobId, attempt: z.int(), stopping: z.enum(["stop", "kill"]).nullable() }))
      .max(4096),
    wait_ms: z.int().min(0).max(limits.heartbeatMs),
  }),
  reply: z.object({
    orders: z.array(
      z.object({
        job_id: JobId,
        attempt: z.int(),
        /** `drop`: no longer this incarnation's; kill it and forget it. */
        order: z.enum(["stop", "kill", "drop"]),
        grace_ms: z.int(),
      }),
    ),
  }),
  problems: ["conflict"],
  access: fenced("a heartbeat changes no job"),
  callers: ["worker"],
  retry: "safe",
});

const attempt = { job_id: JobId, attempt: z.int().min(1), secret: z.string().max(100) };
const exit = { exit_code: z.int().nullable(), signal: z.string().nullable() };

export const AttemptEvent = z.discriminatedUnion("event", [
  /** The sandbox is ready and waits for its release. */
  z.strictObject({ event: z.literal("running"), driver: z.string(), enforced: JobEnforced }),
  /** Its time is up; the worker is ending it. */
  z.strictObject({ event: z.literal("timeout") }),
  /** The tree is empty and the last log batch is acknowledged. */
  z.strictObject({
    event: z.literal("ended"),
    ...exit,
    oom_killed: z.boolean(),
    runtime_ms: z.int(),
    usage: JobUsage,
    logs: z.strictObject({ last_seq: z.int(), bytes: z.int(), truncated: z.boolean() }),
    /** The outputs that are stored, and what is wrong where these are not all. */
    artifacts: z.array(JobArtifact).max(limits.jobOutputs).default([]),
    outputs: z
      .strictObject({ fault: z.enum(["output_limit", "output_lost"]), message: z.string().max(2000) })
      .nullable()
      .default(null),
  }),
  /** It was never released: a typed refusal, or an error that another try may not have. */
  z.strictObject({
    event: z.literal("refused"),
    reason: z.enum(["sandbox_unavailable", "input_missing", "start_failed"]),
    message: z.string().max(2000),
  }),
  /** The deadline at the warden passed while the worker lives: the tree was ended. */
  z.strictObject({ event: z.literal("expired") }),
  /** What cannot be killed stays stopping. */
  z.strictObject({ event: z.literal("unkillable"), message: z.string().max(2000) }),
]);
export type AttemptEvent = z.infer<typeof AttemptEvent>;

export const reportAttempt = defineOperation({
  name: "jobs.report",
  kind: "unary",
  summary: "Report what became of an attempt",
  request: z.strictObject({ incarnation: IncarnationId, ...attempt, report: AttemptEvent }),
  reply: z.object({ state: JobState }),
  problems: ["conflict", "not-found"],
  access: fenced("accepted only with the attempt's secret and a legal transition"),
  callers: ["worker"],
  retry: "safe",
});

export const appendLog = defineOperation({
  name: "jobs.log",
  kind: "unary",
  summary: "Append a batch of log lines",
  request: z.strictObject({ ...attempt, batch: LogBatch }),
  reply: z.object({ last_seq: z.int() }),
  bytes: "request",
  problems: ["conflict", "not-found", "too-large"],
  access: fenced("accepted only with the attempt's secret, as the successor of the batch before it"),
  callers: ["worker"],
  retry: "safe",
});
