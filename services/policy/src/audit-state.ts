// What the log says, folded record by record: where the chain ends, how the last writer ended, and which outcomes are already
// in it. The same fold runs over what is stored at start, over what is sealed into segments, and over what is appended, so a
// restart knows exactly what the process before it knew.
import { type ChainEnd, chainStart } from "@aether/chain";
import { isTerminal, JobState } from "@aether/contracts";
import { z } from "zod";

/** How far the outcomes of the jobs stream are in the log. */
export interface OutcomePosition {
  /** Highest sequence of the jobs stream that an outcome was read at. */
  sequence: number;
  /** Of each job that has not ended: the revision of its newest recorded transition. */
  open: Map<string, number>;
}

export interface LogState {
  end: ChainEnd;
  lastKind: string | null;
  outcomes: OutcomePosition;
}

/** The fields that the fold looks at; whether the rest is untouched is verification's business. */
const Stored = z.looseObject({
  seq: z.int(),
  hash: z.string(),
  kind: z.string(),
  job_id: z.string().nullable(),
  outcome: z.looseObject({ to: z.string() }).nullable(),
  provenance: z.looseObject({
    source: z.looseObject({ stream: z.string(), sequence: z.int() }).nullable(),
  }),
});
export type StoredRecord = z.infer<typeof Stored>;

export const jobsStream = "KV_jobs";

export function emptyState(): LogState {
  return { end: chainStart, lastKind: null, outcomes: { sequence: 0, open: new Map() } };
}

/** The records of a message; throws where it is something else. */
export function parseRecords(data: Uint8Array | string): StoredRecord[] {
  const text = typeof data === "string" ? data : new TextDecoder().decode(data);
  return text.split("\n").map((line) => Stored.parse(JSON.parse(line)));
}

/** Takes the next record into the state; one that the state already holds changes nothing. */
export function applyRecord(state: LogState, record: StoredRecord): void {
  if (record.seq <= state.end.seq) return;
  state.end = { seq: record.seq, hash: record.hash };
  state.lastKind = record.kind;
  const source = record.provenance.source;
  if (source?.stream === jobsStream) applySource(state.outcomes, record, source.sequence);
}

function applySource(position: OutcomePosition, record: StoredRecord, sequence: number): void {
  if (record.kind === "gap" && sequence === 0) {
    position.sequence = 0; // the jobs stream was made anew
    position.open.clear();
    return;
  }
  position.sequence = Math.max(position.sequence, sequence);
  if (!record.job_id || !record.outcome) return;
  const to = JobState.safeParse(record.outcome.to);
  if (to.success && isTerminal(to.data)) position.open.delete(record.job_id);
  else position.open.set(record.job_id, sequence);
}
