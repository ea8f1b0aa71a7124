// Bytes as chunks of a stream, and the bucket with one writer that names them.
import { randomBytes } from "node:crypto";
import { requireBackend, startNats, type TestNats } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lastMessage, objectSubject, openLedger, openObjects, removedHeader, Superseded } from "../src/index.ts";

const missing = requireBackend("nats");

describe.skipIf(missing)(`objects and ledger${missing ? `: ${missing}` : ""}`, () => {
  let nats: TestNats;
  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(() => nats[Symbol.asyncDispose]());

  it("every chunk of interleaved objects is found from any chunk before it", async () => {
    await using bus = await nats.connect("artifacts");
    const objects = openObjects(bus, "ARTIFACTS", objectSubject);
    const stored = ["a", "b", "c"].map((object) => ({ object, chunks: [] as Buffer[], places: [] as number[] }));
    for (let n = 0; n < 40; n++) {
      for (const { object, chunks, places } of stored.filter((_, i) => n % (i + 1) === 0)) {
        const data = randomBytes(100);
        places.push(await objects.append(object, chunks.length, data));
        chunks.push(data);
      }
    }
    for (const { object, chunks, places } of stored) {
      for (const [index, chunk] of chunks.entries()) {
        for (const from of [0, Math.floor(index / 2), index]) {
          const found = await objects.read(object, index, { index: from, sequence: places[from] ?? 0 });
          expect(Buffer.from(found?.data ?? []).equals(chunk)).toBe(true);
        }
      }
      expect(await objects.read(object, chunks.length, { index: 0, sequence: places[0] ?? 0 })).toBeNull();
    }
    expect((await objects.list()).sort()).toEqual(["a", "b", "c"]);
    await objects.purge("b");
    expect((await objects.list()).sort()).toEqual(["a", "c"]);
  });

  it("a ledger's writer that was replaced writes nothing any more", async () => {
    await using bus = await nats.connect("artifacts");
    await using other = await nats.connect("artifacts");
    const first = await openLedger(bus, "artifacts");
    const revision = await first.put("key", { from: "first" });
    expect(first.sequence).toBe(revision);
    const second = await openLedger(other, "artifacts");
    await expect(first.put("key", { from: "first again" })).rejects.toThrow(Superseded);
    await first.superseded;
    const next = await second.put("key", { from: "second" });
    await second.remove("key", { value: { from: "zweite, größer" }, revision: next });
    expect(second.sequence).toBe(next + 1);
    const mark = await lastMessage(other, "KV_artifacts", "$KV.artifacts.key");
    expect(JSON.parse(mark?.header(removedHeader) ?? "")).toEqual({
      value: { from: "zweite, größer" },
      revision: next,
    });
  });

  it("a ledger writes on, in order and each once, over a restart of the server", async () => {
    await using bus = await nats.connect("artifacts");
    const ledger = await openLedger(bus, "artifacts");
    const writes = Array.from({ length: 50 }, (_, n) => ledger.put(`n${n}`, { n }).catch(() => null));
    await writes[5];
    await nats.restart();
    const done = await Promise.all(writes);
    const sequences = done.filter((sequence) => sequence !== null);
    expect(sequences).toEqual([...new Set(sequences)].sort((a, b) => a - b));
    expect(await ledger.put("last", {})).toBe(ledger.sequence);
  });
});
