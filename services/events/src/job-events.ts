// The record of a job → what happened to it. The record carries every transition with the revision before it, so one record
// tells the revisions of all of them, also of those whose own message the bucket no longer holds.
import type { TailMessage } from "@aether/bus";
import { isTerminal, JobState } from "@aether/contracts";
import { z } from "zod";
import type { Change, Happening } from "./source.ts";

/** The part of a stored record that events are made from. */
const JobRecord = z.looseObject({
  id: z.string().regex(/^job_[0-9a-z]{26}$/),
  owner: z.string(),
  intent_id: z.string().nullish(),
  traceparent: z.string().nullish(),
  worker: z.string().nullish(),
  exit_code: z.int().nullish(),
  signal: z.string().nullish(),
  attempts: z
    .array(z.looseObject({ attempt: z.int(), exit_code: z.int().nullish(), signal: z.string().nullish() }))
    .default([]),
  transitions: z
    .array(
      z.looseObject({
        from: z.string().nullable(),
        to: JobState,
        reason: z.string().nullable(),
        attempt: z.int(),
        at: z.string(),
        /** Revision of the record before this transition was written; 0 for the first. */
        after: z.int(),
      }),
    )
    .min(1),
});
type JobRecord = z.infer<typeof JobRecord>;
type Transition = JobRecord["transitions"][number];

/** What the record of a job says; null for one that was removed. */
export function readJobChange(message: TailMessage): Change | null {
  if (!message.data) return null;
  const job = JobRecord.parse(JSON.parse(new TextDecoder().decode(message.data)));
  const { transitions } = job;
  const last = transitions.at(-1);
  return {
    key: job.id,
    owner: job.owner,
    intentId: job.intent_id ?? null,
    jobId: job.id,
    traceparent: job.traceparent ?? null,
    happenings: transitions.map((transition, index) =>
      toHappening(job, transition, transitions[index + 1]?.after ?? message.sequence),
    ),
    isOpen: last === undefined || !isTerminal(last.to),
  };
}

function toHappening(job: JobRecord, transition: Transition, revision: number): Happening {
  const { from, to, reason, attempt, at } = transition;
  return {
    revision,
    type: `dev.aether.job.${verbOf(transition)}.v1`,
    time: at,
    data: { state: to, previous_state: from, reason, attempt, ...resultOf(job, transition) },
  };
}

/** What happened, in the past tense where it is done; the state itself is in the data. */
function verbOf({ from, to }: Transition): string {
  if (isTerminal(to)) return "ended";
  if (from === null) return "submitted";
  if (to === "queued") return from === "awaiting_approval" ? "queued" : "requeued";
  return to === "running" ? "started" : to;
}

/** How the attempt went, where the transition ends one. */
function resultOf(job: JobRecord, { from, to, attempt }: Transition): Record<string, unknown> {
  const ends = isTerminal(to) || (to === "queued" && from !== null && from !== "awaiting_approval");
  if (!ends) return {};
  const result = isTerminal(to) ? job : job.attempts.find((one) => one.attempt === attempt);
  return { exit_code: result?.exit_code ?? null, signal: result?.signal ?? null };
}
