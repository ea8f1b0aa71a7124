// Sealing, the reserve, and verification of what is sealed and what is not.
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bus, request } from "@aether/bus";
import { type ChainEnd, canonicalJson, chainStart } from "@aether/chain";
import { createId, healthOperation, listAudit, ProblemError, verifyAudit } from "@aether/contracts";
import { requireBackend, startNats, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { openCheckpoints } from "../src/checkpoints.ts";
import { place, prepare } from "../src/record.ts";
import { verifyLog } from "../src/verify.ts";
import { ask, openRoom, operator, type Room, storedRecords } from "./_fixture.ts";

const MIB = 1024 * 1024;
const missing = requireBackend("nats");
const from = () => ({ envelope: { request_id: createId("req"), principal: operator } });
const verify = async (gateway: Bus) => (await request(gateway, verifyAudit, {}, from())).reply;
const degraded = async (gateway: Bus) => (await request(gateway, healthOperation("policy"), {}, from())).reply.degraded;
const segmentsIn = (room: Room) => join(room.folder, "data/audit/segments");
const sealsIn = (room: Room) => readdirSync(segmentsIn(room)).filter((name) => name.endsWith(".seal.json"));

describe.skipIf(missing)(`sealed segments${missing ? `: ${missing}` : ""}`, () => {
  it("what the stream drops is in a segment; verification, lists and restarts do not notice", async () => {
    await using room = await openRoom({ storeBytes: 4 * MIB });
    await using gateway = await room.nats.connect("gateway");
    await using jobs = await room.nats.connect("jobs");
    const start = () => room.start({ AETHER_POLICY_SEAL_BYTES: 100_000 });
    const decideSome = async (count: number) => {
      for (let n = 0; n < count / 50; n++) await Promise.all(Array.from({ length: 50 }, () => ask(jobs)));
    };
    {
      await using _policy = await start();
      for (let round = 0; round < 3; round++) {
        const before = sealsIn(room).length;
        await decideSome(600);
        await waitFor("a segment", () => sealsIn(room).length > before);
      }
      expect(await verify(gateway)).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
    }
    expect((await storedRecords(room.nats))[0]?.seq).toBeGreaterThan(1);
    rmSync(join(room.folder, "data/audit/view.sqlite"));
    await using _policy = await start();
    await decideSome(50);
    const report = await verify(gateway);
    expect(report).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
    expect(report.segments).toBe(sealsIn(room).length);
    const oldest = { kind: "writer.start" as const, limit: 50 };
    const list = () => request(gateway, listAudit, oldest, from()).catch(() => null);
    const { reply } = await waitFor("the view to be made anew", list);
    expect(reply.items.map(({ seq }) => seq)).toContain(1);
    expect(await degraded(gateway)).toEqual([]);
  });

  it("a full log refuses everything but stop and kill, then these too; sealing mends it and nothing is lost", async () => {
    await using room = await openRoom({ storeBytes: MIB });
    await using gateway = await room.nats.connect("gateway");
    await using jobs = await room.nats.connect("jobs");
    mkdirSync(join(segmentsIn(room), "next.jsonl"), { recursive: true }); // sealing cannot write its file
    await using _policy = await room.start();
    const refusal = (error: unknown) => (error instanceof ProblemError ? error.slug : String(error));
    const submit = () => ask(jobs).then(({ outcome }) => outcome, refusal);
    const kill = () => ask(jobs, { action: "kill_job" }).then(({ outcome }) => outcome, refusal);
    await waitFor("the log to be full", async () => {
      const outcomes = await Promise.all(Array.from({ length: 20 }, submit));
      return outcomes.at(-1) === "audit-unavailable" && (await submit()) === "audit-unavailable";
    });
    await waitFor("sealing to be told", async () =>
      (await degraded(gateway)).some((line) => /cannot be sealed/.test(line)),
    );
    expect((await degraded(gateway)).some((line) => /only stop and kill/.test(line))).toBe(true);
    expect(await kill()).toBe("allow");
    expect(await submit()).toBe("audit-unavailable");
    expect(await request(gateway, verifyAudit, {}, from()).catch(refusal)).toBe("audit-unavailable");
    await waitFor("the reserve to be used", async () => (await kill()) === "audit-unavailable");
    const full = await storedRecords(room.nats);
    expect(full[0]?.seq).toBe(1);
    rmdirSync(join(segmentsIn(room), "next.jsonl"));
    await waitFor("submits to go on", async () => (await submit()) === "allow");
    const report = await verify(gateway);
    expect(report).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
    expect(report.records).toBeGreaterThan(full.length);
    expect(await degraded(gateway)).toEqual([]);
  });
});

type Line = Record<string, unknown>;

/** Writes a chain anew, as somebody would who has everything but the key. */
function rechain(lines: readonly string[]): string[] {
  let end: ChainEnd = chainStart;
  return lines.map((line) => {
    const { seq: _, prev: __, hash: ___, ...draft } = JSON.parse(line) as Line;
    const placed = place(prepare(draft as Parameters<typeof prepare>[0]), end);
    end = placed.end;
    return placed.line;
  });
}

const edit = (line: string | undefined, change: Line) =>
  canonicalJson({ ...(JSON.parse(line ?? "{}") as Line), ...change });
const faked = { action: "read_job" };
const tampering: [string, (lines: string[]) => string[], RegExp][] = [
  ["a field was changed", (lines) => lines.with(10, edit(lines[10], faked)), /content does not have its hash/],
  ["a record was deleted", (lines) => lines.toSpliced(10, 1), /stands where 11 belongs/],
  ["two were swapped", (lines) => lines.with(10, lines[11] ?? "").with(11, lines[10] ?? ""), /stands where 11 belongs/],
  ["the end was cut off", (lines) => lines.slice(0, -5), /a checkpoint says it went on/],
  [
    "all of it was rewritten",
    (lines) => rechain(lines.with(10, edit(lines[10], faked))),
    /signed checkpoint has another hash/,
  ],
  ["something else was written", (lines) => lines.with(10, "{}"), /stands where 11 belongs/],
];

describe.skipIf(missing)(`verification${missing ? `: ${missing}` : ""}`, () => {
  it("tells what was done to a log: in the stream and in a segment", async () => {
    await using room = await openRoom();
    {
      await using jobs = await room.nats.connect("jobs");
      await using _policy = await room.start();
      for (let n = 0; n < 20; n++) await ask(jobs);
    }
    const lines = (await storedRecords(room.nats)).map((record) => canonicalJson(record));
    const checkpoints = openCheckpoints(join(room.folder, "data/audit"), join(room.folder, "log"));
    const segmentsDir = segmentsIn(room);
    await using untouched = await room.nats.connect("policy-audit");
    expect(await verifyLog({ bus: untouched, segmentsDir, checkpoints })).toMatchObject({ state: "intact" });
    for (const [name, change, fault] of tampering) {
      await using nats = await startNats();
      await using bus = await nats.connect("policy-audit");
      await bus.js.publish("aether.audit.v0", change(lines).join("\n"));
      const report = await verifyLog({ bus, segmentsDir, checkpoints });
      expect([name, report.state]).toEqual([name, "tampered"]);
      expect(report.faults.map((found) => found.fault).join("\n")).toMatch(fault);
    }
  });

  it("tells what was done to a segment or to the checkpoints", async () => {
    await using room = await openRoom();
    await using gateway = await room.nats.connect("gateway");
    await using jobs = await room.nats.connect("jobs");
    {
      await using _policy = await room.start({ AETHER_POLICY_SEAL_BYTES: 5000 });
      for (let n = 0; n < 20; n++) await ask(jobs);
      await waitFor("a segment", () => sealsIn(room).length > 0);
    }
    await using _policy = await room.start();
    const file = join(segmentsIn(room), (sealsIn(room)[0] ?? "").replace(".seal.json", ".jsonl"));
    const notes = join(room.folder, "log/audit-checkpoints");
    const faults = async () => {
      const { state, faults: found } = await verify(gateway);
      return `${state}: ${found.map(({ fault }) => fault).join("\n")}`;
    };
    const whileChanged = async (path: string, change: (content: string) => string) => {
      const content = readFileSync(path, "utf8");
      writeFileSync(path, change(content));
      const found = await faults();
      writeFileSync(path, content);
      return found;
    };
    expect(await faults()).toBe("intact: ");
    expect(await whileChanged(file, (text) => text.replace("submit_job", "submit_jab"))).toMatch(/^tampered.*its hash/);
    expect(await whileChanged(file, (text) => `${text.split("\n").slice(0, -3).join("\n")}\n`)).toMatch(
      /^tampered.*seal/,
    );
    expect(await whileChanged(notes, () => "")).toMatch(/^(intact|incomplete)/);
    expect(await whileChanged(notes, (text) => text.replace(/\n(\d+)\n/, "\n1\n"))).toMatch(/^tampered.*not signed/);
    expect(await whileChanged(join(room.folder, "log/audit-checkpoint.pub"), () => "x")).toMatch(
      /^tampered.*another one/,
    );
    expect(await faults()).toBe("intact: ");
  });
});
