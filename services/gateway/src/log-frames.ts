// Pages of a log → the frames a follower reads. Pure. A page is raw lines and a description of them; here, and only here,
// each line becomes JSON. Written for throughput: a segment is decoded once, a line costs one JSON.stringify, a page is one
// string. Lines outside `after < seq <= upTo` are skipped, so that a page that begins too early repeats nothing.
import { isUtf8 } from "node:buffer";
import type { LogFrame, LogPage, LogSegment, LogStream } from "@aether/contracts";

export type LogFormat = "ndjson" | "sse" | "raw";

export interface FrameOptions {
  format: LogFormat;
  /** Only frames with a greater seq. */
  after: number;
  /** No frame with a greater seq: the end of the log, where it is known. */
  upTo?: number;
  stream?: LogStream;
}

/** Media type of each format. */
export const contentTypes: Record<LogFormat, string> = {
  ndjson: "application/x-ndjson",
  sse: "text/event-stream",
  raw: "application/octet-stream",
};

type Lines = Extract<LogSegment, { n: number }>;
type Cut = Extract<LogSegment, { x: object }>;

const streamNames = { 1: "stdout", 2: "stderr" } as const;
const newline = 0x0a;
const nothing = new Uint8Array(0);

/** The frames of a page's batches; `bytes` are the lines of all batches, one after the other. */
export function formatPage(
  page: Pick<LogPage, "batches">,
  bytes: Uint8Array,
  options: FrameOptions,
): string | Uint8Array {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const raw: Uint8Array[] = [];
  let text = "";
  let batchStart = 0;
  for (const batch of page.batches) {
    let seq = batch.first_seq;
    let start = batchStart;
    for (const segment of batch.segments) {
      if ("x" in segment) {
        if (options.format !== "raw" && isWanted(seq, options)) text += truncatedFrame(segment, seq, options.format);
        seq += 1;
        continue;
      }
      if (!options.stream || options.stream === streamNames[segment.s]) {
        const lines = buffer.subarray(start, start + segment.b);
        if (options.format === "raw") raw.push(rawLines(lines, segment, seq, options));
        else text += frames(lines, segment, seq, batch.attempt, options);
      }
      seq += segment.n;
      start += segment.b;
    }
    batchStart += batch.bytes;
  }
  return options.format === "raw" ? Buffer.concat(raw) : text;
}

/** One frame that stands for itself: end, heartbeat, error. Raw has none of them. */
export function formatFrame(frame: LogFrame, format: LogFormat): string {
  if (format === "raw") return "";
  if (format === "ndjson") return `${JSON.stringify(frame)}\n`;
  return "type" in frame && frame.type === "heartbeat" ? ": heartbeat\n\n" : `data: ${JSON.stringify(frame)}\n\n`;
}

function frames(lines: Buffer, segment: Lines, firstSeq: number, attempt: number, options: FrameOptions): string {
  const head = `,"attempt":${attempt},"ts":"${new Date(segment.t).toISOString()}","stream":"${streamNames[segment.s]}","data":`;
  const tail = segment.p ? ',"partial":true}' : "}";
  return isUtf8(lines)
    ? textFrames(lines.toString("utf8"), firstSeq, head, tail, segment, options)
    : mixedFrames(lines, firstSeq, head, tail, segment, options);
}

function textFrames(
  lines: string,
  firstSeq: number,
  head: string,
  tail: string,
  segment: Lines,
  options: FrameOptions,
): string {
  const sse = options.format === "sse";
  const close = sse ? `${tail}\n\n` : `${tail}\n`;
  let out = "";
  let start = 0;
  for (let seq = firstSeq; seq < firstSeq + segment.n; seq++) {
    const end = lines.indexOf("\n", start);
    if (end < 0) throw new RangeError("a segment has fewer lines than it says");
    if (isWanted(seq, options)) {
      const open = sse ? `id: ${seq}\ndata: {"seq":${seq}` : `{"seq":${seq}`;
      out += open + head + JSON.stringify(lines.slice(start, end)) + close;
    }
    start = end + 1;
  }
  return out;
}

/** A segment in which some line is not UTF-8: that line goes as base64, so that none of its bytes is lost. */
function mixedFrames(
  lines: Buffer,
  firstSeq: number,
  head: string,
  tail: string,
  segment: Lines,
  options: FrameOptions,
): string {
  let out = "";
  let start = 0;
  for (let seq = firstSeq; seq < firstSeq + segment.n; seq++) {
    const end = lines.indexOf(newline, start);
    if (end < 0) throw new RangeError("a segment has fewer lines than it says");
    const line = lines.subarray(start, end);
    if (isWanted(seq, options)) {
      const data = isUtf8(line)
        ? JSON.stringify(line.toString("utf8"))
        : `"${line.toString("base64")}","encoding":"base64"`;
      out += wrap(`{"seq":${seq}${head}${data}${tail}`, seq, options.format);
    }
    start = end + 1;
  }
  return out;
}

/** The bytes as the job wrote them: the newline that a partial line was given for storage is taken away again. */
function rawLines(lines: Buffer, segment: Lines, firstSeq: number, options: FrameOptions): Uint8Array {
  const upTo = options.upTo ?? Number.POSITIVE_INFINITY;
  const skipped = Math.max(0, Math.min(segment.n, options.after - firstSeq + 1));
  const wanted = Math.max(0, Math.min(segment.n, upTo - firstSeq + 1)) - skipped;
  if (wanted <= 0) return nothing;
  const start = skipLines(lines, 0, skipped);
  const end = skipped + wanted === segment.n ? lines.length : skipLines(lines, start, wanted);
  return lines.subarray(start, segment.p ? end - 1 : end);
}

function skipLines(lines: Buffer, start: number, count: number): number {
  let at = start;
  for (let i = 0; i < count; i++) {
    at = lines.indexOf(newline, at) + 1;
    if (at === 0) throw new RangeError("a segment has fewer lines than it says");
  }
  return at;
}

function truncatedFrame(segment: Cut, seq: number, format: LogFormat): string {
  const { reason, lines, bytes } = segment.x;
  return wrap(JSON.stringify({ type: "truncated", seq, reason, lines, bytes }), seq, format);
}

function wrap(json: string, seq: number, format: LogFormat): string {
  return format === "sse" ? `id: ${seq}\ndata: ${json}\n\n` : `${json}\n`;
}

function isWanted(seq: number, options: FrameOptions): boolean {
  return seq > options.after && (options.upTo === undefined || seq <= options.upTo);
}
