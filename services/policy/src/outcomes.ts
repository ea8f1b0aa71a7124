// What became of jobs, as records: follows the stream of job records and appends one `outcome` per transition. Nothing is lost
// to a crash of anybody, because the stream is durable and the log itself says how far it was read; nothing is recorded twice,
// because only the one writer of the log appends, and what it appended is known before the next is tried.
//
// A job's record carries all its transitions, and the bucket keeps only the newest record. So a message may hold transitions
// whose own message was never seen; which of them are recorded already, the newest recorded revision of that job says. A job
// that has ended is not written again, so only jobs that have not ended are kept in mind.
import { type Bus, startTail, streamState, type TailMessage } from "@aether/bus";
import { isTerminal, JobState } from "@aether/contracts";
import { z } from "zod";
import type { AuditLog } from "./audit-log.ts";
import { jobsStream, type OutcomePosition } from "./audit-state.ts";
import { createDraft, type Draft, policyActor, toActor } from "./record.ts";

const jobsActor = toActor({ type: "Service", id: "jobs", roles: [] }, "policy");
const draftsAtOnce = 200;
const retryMs = 500;
/** Between two appends: what happens meanwhile shares the next one, and decisions, which somebody waits for, go first. */
const gatherMs = 50;

/** The part of a stored job record that outcomes are read from. */
const JobRecord = z.looseObject({
  id: z.string(),
  intent_id: z.string().nullish(),
  transitions: z
    .array(
      z.looseObject({
        from: z.string().nullable(),
        to: z.string(),
        reason: z.string().nullable(),
        attempt: z.int(),
        at: z.string(),
        /** Revision of the record before this transition was written; 0 for the first. */
        after: z.int(),
      }),
    )
    .min(1),
});

/** Starts following the job records. */
export async function startOutcomes(options: {
  bus: Bus;
  log: Pick<AuditLog, "append" | "outcomes">;
  /** Told of jobs that have ended, once that is recorded. It does not fail. */
  onEnded(jobId: string): Promise<void>;
}): Promise<AsyncDisposable> {
  const { bus, log, onEnded } = options;
  const position = log.outcomes;
  const ended = new AbortController();
  const { lastSequence } = await streamState(bus, jobsStream);
  if (lastSequence < position.sequence) {
    await log.append([gap(0, `${jobsStream} was made anew: what it held before may be missing here`)], {
      reserve: true,
    });
    position.sequence = 0;
    position.open.clear();
  }
  /** While the log is full outcomes wait: the jobs stream keeps them. */
  const appendAll = async (drafts: Draft[]) => {
    for (let at = 0; at < drafts.length && !ended.signal.aborted; ) {
      const some = drafts.slice(at, at + draftsAtOnce);
      const stored = await log.append(some, { patient: true }).then(
        () => true,
        () => false,
      );
      if (stored) at += some.length;
      else await pause(retryMs, ended.signal);
    }
    if (ended.signal.aborted)
      throw new Error("ended before all outcomes were recorded; they are read again at the next start");
  };
  const tail = startTail(bus, {
    stream: jobsStream,
    subject: "$KV.jobs.>",
    from: position.sequence + 1,
    async onMessages(messages) {
      const news = messages.filter(({ sequence }) => sequence > position.sequence);
      const drafts = news.flatMap((message) => toDrafts(message, position.open, bus));
      await appendAll(drafts);
      for (const { job_id, outcome } of drafts) {
        const state = JobState.safeParse(outcome?.to);
        if (job_id && state.success && isTerminal(state.data)) await onEnded(job_id);
      }
      position.sequence = news.at(-1)?.sequence ?? position.sequence;
      await pause(gatherMs, ended.signal);
    },
  });
  return {
    async [Symbol.asyncDispose]() {
      ended.abort();
      await tail[Symbol.asyncDispose]();
    },
  };
}

/** The outcomes in a message that are not recorded yet; `open` is brought up to it. */
function toDrafts(message: TailMessage, open: OutcomePosition["open"], bus: Bus): Draft[] {
  if (!message.data) return [];
  const parsed = JobRecord.safeParse(parseJson(message.data));
  if (!parsed.success) {
    bus.log.error({ sequence: message.sequence, err: parsed.error }, "a job record has no readable transitions");
    return [gap(message.sequence, `the job record at ${message.sequence} has no readable transitions`)];
  }
  const { id, intent_id, transitions } = parsed.data;
  const recorded = open.get(id) ?? 0;
  const drafts = transitions.flatMap(({ from, to, reason, attempt, at }, index) => {
    const revision = transitions[index + 1]?.after ?? message.sequence;
    if (revision <= recorded) return [];
    return createDraft({
      kind: "outcome",
      actor: jobsActor,
      intent_id: intent_id ?? null,
      job_id: id,
      action: `job.${to}`,
      resource: { type: "Job", id },
      provenance: { request_id: null, digest: null, source: { stream: jobsStream, sequence: revision } },
      outcome: { from, to, reason, attempt, at },
    });
  });
  const last = JobState.safeParse(transitions.at(-1)?.to);
  if (last.success && isTerminal(last.data)) open.delete(id);
  else open.set(id, message.sequence);
  return drafts;
}

function gap(sequence: number, note: string): Draft {
  const provenance = { request_id: null, digest: null, source: { stream: jobsStream, sequence } };
  return createDraft({ kind: "gap", actor: policyActor, action: "audit.gap", provenance, note });
}

function parseJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return null; // what is not JSON has no transitions, which the caller reports
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
  });
}
