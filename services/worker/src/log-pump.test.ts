import { PassThrough } from "node:stream";
import { type LogBatch, ProblemError } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { startLogPump } from "./log-pump.ts";

function start(options: { maxBytes?: number; send?: (batch: LogBatch) => Promise<void> } = {}) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const sent: { batch: LogBatch; text: string }[] = [];
  const pump = startLogPump(stdout, stderr, {
    attempt: 1,
    log: { last_seq: 10, bytes: 0, max_bytes: options.maxBytes ?? 1_000_000 },
    async send(batch, bytes) {
      await options.send?.(batch);
      sent.push({ batch, text: Buffer.concat(bytes).toString() });
    },
    now: () => 5,
    signal: new AbortController().signal,
  });
  return { stdout, stderr, sent, pump };
}

describe("startLogPump", () => {
  it("numbers lines over both streams and batches while one batch is in flight", async () => {
    const gate = Promise.withResolvers<void>();
    const { stdout, stderr, sent, pump } = start({
      send: (batch) => (batch.first_seq === 11 ? gate.promise : Promise.resolve()),
    });
    stdout.write("one\n");
    stderr.write("two\nthree\n");
    stdout.end("four");
    stderr.end();
    gate.resolve();
    expect(await pump.done).toEqual({ last_seq: 14, bytes: 19, truncated: false });
    const segments = sent.flatMap(({ batch }) => batch.segments);
    expect(segments.reduce((lines, segment) => lines + ("n" in segment ? segment.n : 0), 0)).toBe(4);
    expect(segments.at(-1)).toEqual({ t: 5, s: 1, n: 1, b: 5, p: 1 });
    expect(sent[0]?.batch.first_seq).toBe(11);
  });

  it("holds the streams back while nothing is accepted", async () => {
    const gate = Promise.withResolvers<void>();
    const { stdout, stderr, pump } = start({ maxBytes: 100_000_000, send: () => gate.promise });
    stderr.end();
    const line = Buffer.from(`${"x".repeat(999)}\n`);
    let accepted = 0;
    while (stdout.write(line) && accepted < 10_000) {
      accepted++;
      await new Promise(setImmediate);
    }
    expect(accepted).toBeLessThan(1_000);
    gate.resolve();
    stdout.end();
    expect((await pump.done).last_seq).toBe(10 + accepted + 1);
  });

  it("sends again what was not stored, under the same numbers, and says what the limit cut away", async () => {
    let failures = 2;
    const { stdout, stderr, sent, pump } = start({
      maxBytes: 8,
      send: async () => {
        if (failures-- > 0) throw new ProblemError("unavailable");
      },
    });
    stderr.end();
    stdout.end("aaa\nbbb\nccc\nddd\n");
    expect(await pump.done).toEqual({ last_seq: 13, bytes: 8, truncated: true });
    expect(sent.map(({ text }) => text).join("")).toBe("aaa\nbbb\n");
    expect(sent.flatMap(({ batch }) => batch.segments)).toEqual([
      { t: 5, s: 1, n: 2, b: 8 },
      { t: 5, x: { reason: "log_limit", lines: 2, bytes: 8 } },
    ]);
  });

  it("ends with an error when the log refuses this attempt", async () => {
    const { stdout, pump } = start({ send: () => Promise.reject(new ProblemError("conflict")) });
    stdout.write("one\n");
    await expect(pump.done).rejects.toMatchObject({ slug: "conflict" });
  });
});
