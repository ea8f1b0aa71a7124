// Bytes as chunks of a stream, and the bucket with one writer that names them.
import { randomBytes } from "node:crypto";
import { createId, limits, readChunks } from "@aether/contracts";
import { requireBackend, startNats, type TestNats } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Bus,
  type ChunkQuery,
  deliverySubject,
  handler,
  lastMessage,
  objectSubject,
  openLedger,
  openObjects,
  readAhead,
  removedHeader,
  requestChunks,
  Superseded,
  serve,
} from "../src/index.ts";

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

  it("chunks come to who asks for them in order from any of them on, however they were stored, and to nobody else", async () => {
    await using bus = await nats.connect("artifacts");
    await using gateway = await nats.connect("gateway");
    await using worker = await nats.connect("worker-host-a");
    const objects = openObjects(bus, "ARTIFACTS", objectSubject);
    const stored = ["alone", "one", "two", "three"].map((object) => ({ object, chunks: [] as Buffer[], first: 0 }));
    const append = async (one: (typeof stored)[number]) => {
      const data = randomBytes(100);
      const sequence = await objects.append(one.object, one.chunks.length, data);
      if (one.chunks.push(data) === 1) one.first = sequence;
    };
    const [alone, ...mixed] = stored as [(typeof stored)[number], ...typeof stored];
    for (let n = 0; n < 30; n++) await append(alone);
    for (let n = 0; n < 30; n++) for (const one of mixed.filter((_, i) => n % (i + 1) === 0)) await append(one);
    await using _served = await serve(bus, {
      ...{ service: "artifacts", version: "0", description: "" },
      handlers: [
        handler(readChunks, {
          async handle({ transfer, index, count, known, to }, { caller }) {
            const { object, first } = stored[Number(transfer)] as (typeof stored)[number];
            for (let n = index; n < index + count; n++)
              objects.send(object, n, known ?? { index: 0, sequence: first }, deliverySubject(caller, to));
            return {};
          },
        }),
      ],
    });
    let strayed = 0;
    worker.nats.subscribe(deliverySubject("worker-host-a"), { callback: () => void strayed++ });
    const principal = { type: "User" as const, id: "1", roles: [] };
    let asked = 0;
    const readAll = async (reader: Bus, n: number, first: number, last: number) => {
      const bytes: Uint8Array[] = [];
      const envelope = { request_id: createId("req"), ...(reader === gateway && { principal }) };
      const read = (query: ChunkQuery) => {
        asked++;
        return requestChunks(reader, String(n).padStart(32, "0"), query, { envelope });
      };
      for await (const { data } of readAhead(read, first, last)) bytes.push(data);
      return Buffer.concat(bytes);
    };
    expect((await readAll(gateway, 0, 0, 29)).equals(Buffer.concat(alone.chunks))).toBe(true);
    expect(asked).toBe(Math.ceil(30 / limits.transferChunksInFlight));
    for (const [n, { chunks }] of stored.entries())
      for (const [first, last] of [
        [0, chunks.length - 1],
        [1, chunks.length - 1],
        [chunks.length - 2, chunks.length - 2],
        [chunks.length - 1, chunks.length - 1],
      ] as const)
        expect((await readAll(gateway, n, first, last)).equals(Buffer.concat(chunks.slice(first, last + 1)))).toBe(
          true,
        );
    expect(strayed).toBe(0);
    expect((await readAll(worker, 1, 0, 5)).equals(Buffer.concat(mixed[0]?.chunks.slice(0, 6) ?? []))).toBe(true);
    await expect(readAll(gateway, 1, 0, 30)).rejects.toMatchObject({ slug: "unavailable" });
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
