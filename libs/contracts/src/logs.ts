// Logs on three levels.
//
// A worker sends *batches*: raw bytes of whole lines, described by segments (time, stream, how many lines, how many bytes).
// The jobs service stores a batch as it came and answers *pages*: runs of batches, cut to what was asked. Only at the edge
// do lines become *frames*, the JSON that people and programs read. So a line is copied, never parsed, on its way, and a
// byte that is not UTF-8 survives it.
//
// `seq` counts lines from 1 over both streams and all attempts without a gap; it is never stored per line: a segment's first
// line has the seq after the last line of the segment before it.
import { z } from "zod";
import { JobId } from "./ids.ts";
import { limits } from "./limits.ts";
import { durationSchema } from "./units.ts";

export const LogStream = z.enum(["stdout", "stderr"]);
export type LogStream = z.infer<typeof LogStream>;

const TruncatedReason = z.enum(["log_limit", "worker_lost", "retention"]);
export type TruncatedReason = z.infer<typeof TruncatedReason>;

/**
 * `{t, s, n, b, p?}`: n lines in b bytes (each line ended by a newline, whether it had one or not) of stream s (1 stdout,
 * 2 stderr), read at t (ms since the epoch); p marks the one line of the segment as partial. `{t, x}`: what was cut away;
 * takes one seq and no bytes.
 */
export const LogSegment = z.union([
  z.strictObject({
    t: z.int(),
    s: z.union([z.literal(1), z.literal(2)]),
    n: z.int().min(1),
    b: z.int().min(1),
    p: z.literal(1).optional(),
  }),
  z.strictObject({
    t: z.int(),
    x: z.strictObject({ reason: TruncatedReason, lines: z.int().nullable(), bytes: z.int().nullable() }),
  }),
]);
export type LogSegment = z.infer<typeof LogSegment>;

/** What precedes a batch's bytes. */
export const LogBatch = z.strictObject({
  attempt: z.int().min(0),
  first_seq: z.int().min(1),
  last_seq: z.int().min(1),
  segments: z.array(LogSegment).min(1).max(4096),
});
export type LogBatch = z.infer<typeof LogBatch>;

/** Query of `GET /v0/jobs/{id}/logs`. */
export const LogQuery = z.strictObject({
  follow: z.stringbool().default(false).describe("Wait for more until the job has ended"),
  after: z.int().min(0).optional().describe("Only frames with a greater seq"),
  tail: z.int().min(0).max(1_000_000).optional().describe("Only the last N frames; not with `after`"),
  since: z
    .union([durationSchema(0, limits.logsRetentionMs), z.iso.datetime({ offset: true })])
    .optional()
    .describe("Only frames younger than this duration, or after this time"),
  stream: LogStream.optional().describe("Only this stream; seq then has gaps"),
  format: z.enum(["ndjson", "sse", "raw"]).default("ndjson"),
});
export type LogQuery = z.infer<typeof LogQuery>;

/** One page of a log, asked by the gateway. */
export const LogReadRequest = z.strictObject({
  id: JobId,
  after: z.int().min(0).default(0),
  tail: z.int().min(0).max(1_000_000).optional(),
  since_ms: z.int().optional().describe("Milliseconds since the epoch"),
  /** Where the page before this one ended: saves looking for `after`. */
  position: z.int().min(0).optional(),
  wait_ms: z.int().min(0).max(limits.followHeartbeatMs).default(0),
});
export type LogReadRequest = z.infer<typeof LogReadRequest>;

export const LogPage = z.object({
  batches: z.array(LogBatch.extend({ bytes: z.int().min(0) })),
  /** Give back as `after` and `position` for the next page. */
  after: z.int(),
  position: z.int(),
  /** Set when there is nothing more to come: made from the record, never stored. */
  eof: z
    .object({
      last_seq: z.int(),
      state: z.string(),
      reason: z.string().nullable(),
      exit_code: z.int().nullable(),
      signal: z.string().nullable(),
    })
    .nullable(),
});
export type LogPage = z.infer<typeof LogPage>;

export const LogFrame = z.union([
  z.object({
    seq: z.int(),
    attempt: z.int(),
    ts: z.iso.datetime(),
    stream: LogStream,
    data: z.string(),
    partial: z.literal(true).optional(),
    encoding: z.literal("base64").optional(),
  }),
  z.object({
    type: z.literal("truncated"),
    seq: z.int(),
    reason: TruncatedReason,
    lines: z.int().nullable(),
    bytes: z.int().nullable(),
  }),
  z.object({
    type: z.literal("eof"),
    last_seq: z.int(),
    state: z.string(),
    reason: z.string().nullable(),
    exit_code: z.int().nullable(),
    signal: z.string().nullable().optional(),
  }),
  z.object({ type: z.literal("heartbeat") }),
  z.object({ type: z.literal("error"), problem: z.looseObject({ title: z.string(), status: z.int() }) }),
]);
export type LogFrame = z.infer<typeof LogFrame>;
