// The log of a job: batches under `aether.log.v0.<job>` in LOGS, each the successor of the one before it.
//
// Append: published with the expected last sequence of its subject, so two writers cannot interleave and a stale worker is
// fenced. An unknown outcome, or an expectation that does not hold, is resolved by reading the last batch: it is this very
// batch (stored before), its predecessor (publish again), or something else (refused). No dedupe windows.
//
// Read: pages of batches from a stream sequence on, cut to `after` and to the record's `last_seq`. The record is read before
// the batches; since the last batch is stored before the terminal write, a terminal record and no more batches is the end.
import { appendMessage, type Bus, lastMessage, RevisionConflict, readMessages, waitForPublish } from "@aether/bus";
import { isTerminal, type LogBatch, type LogPage, type LogSegment, ProblemError } from "@aether/contracts";
import type { StoredJob } from "./job.ts";

const stream = "LOGS";
const subjectOf = (jobId: string) => `aether.log.v0.${jobId}`;
const pageBytes = 256 * 1024;
const appendTriesMax = 4;
const rememberedMax = 10_000;

interface End {
  sequence: number;
  attempt: number;
  lastSeq: number;
  /** The last batch is the marker that closed this attempt's log. */
  fenced: boolean;
}

export interface JobLogs {
  /** Stores a batch; answers the log's last seq. Throws `conflict` when it is not the successor of what is stored. */
  append(jobId: string, batch: LogBatch, bytes: Uint8Array): Promise<number>;
  /** Seq of the last line that is stored. */
  lastSeq(jobId: string): Promise<number>;
  /** Closes the log of an attempt whose worker is gone, so that nothing it sends later fits; answers the log's end. */
  fence(jobId: string, attempt: number, logs: StoredJob["logs"]): Promise<StoredJob["logs"]>;
  read(
    job: StoredJob,
    from: { after: number; tail: number | null; sinceMs: number | null; position: number | null },
  ): Promise<Page>;
  /** Waits for a publish to the job's log. */
  wait(jobId: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
}

interface Page {
  page: LogPage;
  bytes: Uint8Array[];
}

/** `onStored` is told of every batch that this instance has stored. */
export function openLogs(bus: Bus, clock: { now(): Date }, onStored: (jobId: string) => void): JobLogs {
  const ends = new Map<string, End>();

  async function readEnd(jobId: string): Promise<End> {
    const message = await lastMessage(bus, stream, subjectOf(jobId));
    if (!message) return { sequence: 0, attempt: 0, lastSeq: 0, fenced: false };
    const { batch } = decode(message.data);
    return {
      sequence: message.sequence,
      attempt: batch.attempt,
      lastSeq: batch.last_seq,
      fenced: batch.segments.some((segment) => "x" in segment && segment.x.reason === "worker_lost"),
    };
  }

  async function append(jobId: string, batch: LogBatch, bytes: Uint8Array): Promise<number> {
    let end = ends.get(jobId) ?? (await readEnd(jobId));
    for (let tries = 0; tries < appendTriesMax; tries++) {
      if (end.fenced && end.attempt === batch.attempt)
        throw new ProblemError("conflict", { detail: "the log of this attempt is closed" });
      if (end.lastSeq >= batch.last_seq && end.attempt === batch.attempt) return end.lastSeq;
      if (end.lastSeq + 1 !== batch.first_seq || end.attempt > batch.attempt) {
        const fresh = await readEnd(jobId);
        if (fresh.sequence === end.sequence)
          throw new ProblemError("conflict", { detail: `the log goes on at ${end.lastSeq + 1}` });
        end = fresh;
        continue;
      }
      try {
        const sequence = await appendMessage(bus, subjectOf(jobId), encode(batch, bytes), end.sequence);
        if (ends.size >= rememberedMax) ends.clear();
        onStored(jobId);
        ends.set(jobId, { sequence, attempt: batch.attempt, lastSeq: batch.last_seq, fenced: false });
        return batch.last_seq;
      } catch (error) {
        if (!(error instanceof RevisionConflict))
          bus.log.warn({ err: error, job_id: jobId }, "log append with unknown outcome");
        ends.delete(jobId);
        end = await readEnd(jobId);
      }
    }
    throw new ProblemError("unavailable", { detail: "the log could not be stored", retry_after_ms: 500 });
  }

  return {
    append,

    lastSeq: async (jobId) => (await readEnd(jobId)).lastSeq,

    async fence(jobId, attempt, logs) {
      for (let tries = 0; ; tries++) {
        const end = await readEnd(jobId);
        if (end.fenced && end.attempt === attempt) return { last_seq: end.lastSeq, bytes: logs.bytes, truncated: true };
        const seq = end.lastSeq + 1;
        const marker: LogSegment = { t: clock.now().getTime(), x: { reason: "worker_lost", lines: null, bytes: null } };
        try {
          await appendMessage(
            bus,
            subjectOf(jobId),
            encode({ attempt, first_seq: seq, last_seq: seq, segments: [marker] }, new Uint8Array(0)),
            end.sequence,
          );
          return { last_seq: seq, bytes: logs.bytes, truncated: true };
        } catch (error) {
          if (!(error instanceof RevisionConflict) || tries >= appendTriesMax) throw error;
        }
      }
    },

    async read(job, from) {
      const limit = isTerminal(job.state) ? job.logs.last_seq : Number.MAX_SAFE_INTEGER;
      let after = from.after;
      if (from.tail !== null) after = Math.max(after, Math.min(limit, (await readEnd(job.id)).lastSeq) - from.tail);
      const messages =
        after >= limit
          ? []
          : await readMessages(bus, stream, subjectOf(job.id), {
              from: (from.position ?? 0) + 1,
              maxMessages: 64,
              maxBytes: pageBytes,
            });
      return assemble(
        job,
        messages.map((message) => ({ sequence: message.sequence, ...decode(message.data) })),
        { after, limit, sinceMs: from.sinceMs, position: from.position ?? 0 },
      );
    },

    wait: (jobId, timeoutMs, signal) => waitForPublish(bus, subjectOf(jobId), { timeoutMs, signal }),
  };
}

interface Read {
  sequence: number;
  batch: LogBatch;
  bytes: Uint8Array;
}

function assemble(
  job: StoredJob,
  reads: Read[],
  cut: { after: number; limit: number; sinceMs: number | null; position: number },
): Page {
  const batches: LogPage["batches"] = [];
  const parts: Uint8Array[] = [];
  let { after, position } = cut;
  const add = (batch: LogBatch, bytes: Uint8Array) => {
    batches.push({ ...batch, bytes: bytes.length });
    parts.push(bytes);
    after = batch.last_seq;
  };
  for (const read of reads) {
    position = read.sequence;
    if (read.batch.last_seq <= after || read.batch.first_seq > cut.limit) continue;
    if (read.batch.first_seq > after + 1) add(missing(job, after, read.batch.first_seq - 1), new Uint8Array(0));
    const kept = trim(read.batch, read.bytes, after, cut.sinceMs);
    if (kept) add(kept.batch, kept.bytes);
    after = read.batch.last_seq;
  }
  const ended = isTerminal(job.state) && (after >= cut.limit || reads.length === 0);
  if (ended && after < cut.limit) add(missing(job, after, cut.limit), new Uint8Array(0));
  const { state, reason, exit_code, signal } = job;
  const eof = ended ? { last_seq: job.logs.last_seq, state, reason, exit_code, signal } : null;
  return { page: { batches, after, position, eof }, bytes: parts };
}

/** What the store no longer holds, as one frame in the place of its last line. */
function missing(job: StoredJob, after: number, last: number): LogBatch {
  const segment: LogSegment = {
    t: Date.parse(job.created_at),
    x: { reason: "retention", lines: last - after, bytes: null },
  };
  return { attempt: job.attempt, first_seq: last, last_seq: last, segments: [segment] };
}

/** The part of a batch after a seq and a time, null where nothing is left. */
function trim(
  batch: LogBatch,
  bytes: Uint8Array,
  after: number,
  sinceMs: number | null,
): { batch: LogBatch; bytes: Uint8Array } | null {
  if (batch.first_seq > after && sinceMs === null) return { batch, bytes };
  const segments: LogSegment[] = [];
  let seq = batch.first_seq;
  let offset = 0;
  let start = -1;
  let firstSeq = 0;
  for (const segment of batch.segments) {
    const lines = "n" in segment ? segment.n : 1;
    const size = "b" in segment ? segment.b : 0;
    const skip = Math.min(lines, Math.max(0, after + 1 - seq));
    // Once one is wanted all later ones are: a clock that stepped back must not tear a hole into the bytes.
    const wanted = skip < lines && (start >= 0 || sinceMs === null || segment.t >= sinceMs);
    if (wanted) {
      const skipped = skip > 0 ? offsetOfLine(bytes, offset, skip) - offset : 0;
      if (start < 0) {
        start = offset + skipped;
        firstSeq = seq + skip;
      }
      segments.push("n" in segment ? { ...segment, n: lines - skip, b: size - skipped } : segment);
    }
    seq += lines;
    offset += size;
  }
  if (start < 0) return null;
  return { batch: { ...batch, first_seq: firstSeq, segments }, bytes: bytes.subarray(start) };
}

function offsetOfLine(bytes: Uint8Array, from: number, lines: number): number {
  let at = from;
  for (let n = 0; n < lines; n++) at = bytes.indexOf(10, at) + 1;
  return at;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

function encode(batch: LogBatch, bytes: Uint8Array): Uint8Array {
  return Buffer.concat([encoder.encode(`${JSON.stringify(batch)}\n`), bytes]);
}

function decode(data: Uint8Array): { batch: LogBatch; bytes: Uint8Array } {
  const end = data.indexOf(10);
  return { batch: JSON.parse(decoder.decode(data.subarray(0, end))) as LogBatch, bytes: data.subarray(end + 1) };
}

/** Whether a batch describes its bytes truly: the sums of lines and bytes hold. The text itself is the worker's word. */
export function isConsistent(batch: LogBatch, bytes: Uint8Array): boolean {
  let lines = 0;
  let size = 0;
  for (const segment of batch.segments) {
    lines += "n" in segment ? segment.n : 1;
    size += "b" in segment ? segment.b : 0;
  }
  return (
    lines === batch.last_seq - batch.first_seq + 1 &&
    size === bytes.length &&
    countNewlines(bytes) === lines - batch.segments.filter((s) => "x" in s).length
  );
}

function countNewlines(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) count++;
  return count;
}
