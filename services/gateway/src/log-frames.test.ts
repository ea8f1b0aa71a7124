import type { LogBatch, LogPage, LogSegment } from "@aether/contracts";
import { LogFrame } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { type FrameOptions, formatFrame, formatPage } from "./log-frames.ts";

const t = Date.parse("2026-11-23T10:00:00.000Z");
const out = (bytes: string | Buffer, extra: object = {}) => ({ s: 1 as const, bytes: Buffer.from(bytes), ...extra });
const err = (bytes: string | Buffer, extra: object = {}) => ({ s: 2 as const, bytes: Buffer.from(bytes), ...extra });
type Part = ReturnType<typeof out> | ReturnType<typeof err> | { x: Extract<LogSegment, { x: object }>["x"] };

/** A page from batches of parts; every part is one segment. */
function page(...batches: Part[][]): { page: Pick<LogPage, "batches">; bytes: Buffer } {
  let seq = 1;
  const all: Buffer[] = [];
  const described = batches.map((parts): LogBatch & { bytes: number } => {
    const firstSeq = seq;
    const segments = parts.map((part): LogSegment => {
      if ("x" in part) {
        seq += 1;
        return { t, x: part.x };
      }
      const { bytes, ...rest } = part;
      const lines = bytes.reduce((sum, byte) => sum + (byte === 0x0a ? 1 : 0), 0);
      seq += lines;
      all.push(bytes);
      return { t, n: lines, b: bytes.length, ...rest };
    });
    const size = parts.reduce((sum, part) => sum + ("bytes" in part ? part.bytes.length : 0), 0);
    return { attempt: 1, first_seq: firstSeq, last_seq: seq - 1, segments, bytes: size };
  });
  return { page: { batches: described }, bytes: Buffer.concat(all) };
}

function format(made: ReturnType<typeof page>, options: Partial<FrameOptions> = {}): string {
  const formatted = formatPage(made.page, made.bytes, { format: "ndjson", after: 0, ...options });
  return typeof formatted === "string" ? formatted : Buffer.from(formatted).toString("latin1");
}

const parse = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => LogFrame.parse(JSON.parse(line)));

describe("ndjson", () => {
  it("writes one frame per line with consecutive seq over streams and batches", () => {
    const text = format(page([out("a\nb\n"), err("c\n")], [out("d\n")]));
    expect(parse(text)).toEqual([
      { seq: 1, attempt: 1, ts: "2026-11-23T10:00:00.000Z", stream: "stdout", data: "a" },
      { seq: 2, attempt: 1, ts: "2026-11-23T10:00:00.000Z", stream: "stdout", data: "b" },
      { seq: 3, attempt: 1, ts: "2026-11-23T10:00:00.000Z", stream: "stderr", data: "c" },
      { seq: 4, attempt: 1, ts: "2026-11-23T10:00:00.000Z", stream: "stdout", data: "d" },
    ]);
  });

  it("escapes what JSON must escape and keeps empty lines", () => {
    const lines = ["", 'say "hi" \\ \t', "\u0000\u001b[1m", "línea – 漢字 🙂", "\u2028", "\ufeffbom", "\r"];
    expect(parse(format(page([out(`${lines.join("\n")}\n`)]))).map((frame) => "data" in frame && frame.data)).toEqual(
      lines,
    );
  });

  it("sends a line that is not UTF-8 as base64 and its neighbours as text", () => {
    const frames = parse(format(page([out(Buffer.from([0x61, 0x0a, 0xff, 0xfe, 0x0a, 0xc3, 0xa9, 0x0a]))])));
    expect(frames).toMatchObject([{ data: "a" }, { data: "//4=", encoding: "base64" }, { data: "é" }]);
    expect(frames[0]).not.toHaveProperty("encoding");
  });

  it("marks partial lines", () => {
    expect(parse(format(page([out("no newline\n", { p: 1 })])))).toMatchObject([{ data: "no newline", partial: true }]);
  });

  it("writes what was cut away as a frame in its place", () => {
    const x = { reason: "log_limit", lines: 7, bytes: null } as const;
    expect(parse(format(page([out("a\n"), { x }, out("b\n")])))).toMatchObject([
      { seq: 1 },
      { type: "truncated", seq: 2, reason: "log_limit", lines: 7, bytes: null },
      { seq: 3, data: "b" },
    ]);
  });

  it("keeps to one stream and leaves gaps in seq", () => {
    const text = format(page([out("a\n"), err("b\nc\n"), out("d\n")]), { stream: "stderr" });
    expect(parse(text)).toMatchObject([
      { seq: 2, data: "b" },
      { seq: 3, data: "c" },
    ]);
  });

  it("skips what is not after `after` and what is beyond the end", () => {
    const made = page([out("a\nb\nc\n")], [out("d\ne\n")]);
    expect(parse(format(made, { after: 2, upTo: 4 }))).toMatchObject([{ seq: 3 }, { seq: 4 }]);
    expect(format(made, { after: 5 })).toBe("");
  });

  it("refuses a segment that has fewer lines than it says", () => {
    const bytes = Buffer.from("a\n");
    const batch = { attempt: 1, first_seq: 1, last_seq: 2, bytes: 2, segments: [{ t, s: 1 as const, n: 2, b: 2 }] };
    expect(() => formatPage({ batches: [batch] }, bytes, { format: "ndjson", after: 0 })).toThrow(RangeError);
  });
});

describe("sse", () => {
  it("carries seq as the id and the frame as data", () => {
    const [first = ""] = format(page([out("a\n")]), { format: "sse" }).split("\n\n");
    expect(first).toMatch(/^id: 1\ndata: \{"seq":1,.*"data":"a"\}$/);
    expect(formatFrame({ type: "heartbeat" }, "sse")).toBe(": heartbeat\n\n");
  });

  it("wraps cut and binary lines the same way", () => {
    const x = { reason: "worker_lost", lines: null, bytes: null } as const;
    const text = format(page([{ x }, out(Buffer.from([0xff, 0x0a]))]), { format: "sse" });
    expect(text).toMatch(/^id: 1\ndata: \{"type":"truncated".*\}\n\nid: 2\ndata: \{.*"encoding":"base64"\}\n\n$/);
  });
});

describe("raw", () => {
  it("is the bytes that the job wrote, without the newline a partial line was given", () => {
    const made = page([out(Buffer.from([0xff, 0x0a])), err("x\n"), out("end\n", { p: 1 })]);
    expect(format(made, { format: "raw" })).toBe("\u00ff\nx\nend");
    expect(format(made, { format: "raw", stream: "stderr" })).toBe("x\n");
  });

  it("cuts at `after` and at the end as frames do", () => {
    const made = page([out("a\nb\nc\nd\n")]);
    expect(format(made, { format: "raw", after: 1, upTo: 3 })).toBe("b\nc\n");
    expect(format(made, { format: "raw", after: 4 })).toBe("");
  });
});
