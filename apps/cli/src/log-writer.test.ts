import { expect, it } from "vitest";
import { createLogWriter } from "./log-writer.ts";
import type { Output, Terminal } from "./terminal.ts";

const at = { attempt: 1, ts: "2026-11-23T10:00:00.031Z" };
const out = (seq: number, data: string) => ({ seq, ...at, stream: "stdout", data }) as const;
const err = (seq: number, data: string) => ({ seq, ...at, stream: "stderr", data }) as const;

function record(): { terminal: Terminal; written: [string, string][] } {
  const written: [string, string][] = [];
  const output = (name: string): Output => ({
    isTerminal: false,
    columns: 80,
    write(data) {
      const text = Buffer.from(data).toString("latin1");
      const last = written.at(-1);
      if (last?.[0] === name) last[1] += text;
      else written.push([name, text]);
    },
    line() {},
    drained: async () => {},
    paint: (_, text) => text,
  });
  return { terminal: { out: output("out"), err: output("err"), closed: new AbortController().signal }, written };
}

it("writes what the job wrote, byte for byte, each stream to its own, in order", async () => {
  const { terminal, written } = record();
  const writer = createLogWriter(terminal);
  await writer.write([
    out(1, "one"),
    out(2, ""),
    err(3, "oops"),
    { ...out(4, Buffer.from([0xff, 0xfe, 0x00]).toString("base64")), encoding: "base64" },
    { ...out(5, "no newline"), partial: true },
  ]);
  expect(written).toEqual([
    ["out", "one\n\n"],
    ["err", "oops\n"],
    ["out", "\xff\xfe\x00\nno newline"],
  ]);
});

it("puts the time before each line, not into the middle of one", async () => {
  const { terminal, written } = record();
  const writer = createLogWriter(terminal, { timestamps: true });
  await writer.write([{ ...out(1, "half"), partial: true }, out(2, " of it"), out(3, "next")]);
  expect(written).toEqual([["out", `${at.ts} half of it\n${at.ts} next\n`]]);
});

it("says what is missing", async () => {
  const { terminal, written } = record();
  const writer = createLogWriter(terminal);
  await writer.write([
    { type: "truncated", seq: 1, reason: "worker_lost", lines: null, bytes: null },
    { type: "truncated", seq: 2, reason: "log_limit", lines: 3, bytes: 2048 },
  ]);
  expect(written.map(([name]) => name)).toEqual(["err"]);
  expect(written[0]?.[1]).toMatch(/lines are missing here: its worker.*\n.*3 lines are missing here \(2\.0 KiB\): /);
});
