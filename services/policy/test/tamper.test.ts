// Seven ways to tamper with a log that somebody has who can write everything but the two places of the checkpoints and the
// key: in the stream, in a sealed segment, and in a copy. Each is told, with its place; the seventh, which takes the local
// checkpoints along, by the second place alone.
import { once } from "node:events";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { request } from "@aether/bus";
import { type ChainEnd, canonicalJson, parseNotes, type Report, readBatches, startVerification } from "@aether/chain";
import { createId, healthOperation, verifyAudit } from "@aether/contracts";
import { requireBackend, startNats, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoints } from "../src/checkpoints.ts";
import { place, prepare } from "../src/record.ts";
import { verifyLog } from "../src/verify.ts";
import { ask, openRoom, operator, type Room, storedRecords } from "./_fixture.ts";

type Line = Record<string, unknown>;
/** What is done to the lines of a place, from the one at index 3 on, and what verification says, with `{n}` for that one. */
interface Way {
  change(lines: string[]): string[];
  /** Offset from the touched record to the place that is told; null where it is another. */
  at: number | null;
  fault: RegExp;
  /** The same where a segment and its seal were made to fit. */
  sealFault?: RegExp;
  /** The local checkpoints are cut as the log is. */
  localCheckpoints?: boolean;
}

const touched = 3;
const parse = (line: string | undefined) => JSON.parse(line ?? "{}") as Line;
const edit = (line: string | undefined, fields: Line) => canonicalJson({ ...parse(line), ...fields });
/** The draft of a line, at another place of the chain. */
function placeAgain(line: string | undefined, end: ChainEnd) {
  const { seq: _, prev: __, hash: ___, ...draft } = parse(line);
  return place(prepare(draft as Parameters<typeof prepare>[0]), end);
}
const endBefore = (line: string | undefined): ChainEnd => ({
  seq: Number(parse(line).seq) - 1,
  hash: String(parse(line).prev),
});

/** Writes lines anew as one chain, as somebody would who has everything but the key. */
function rechain(lines: readonly string[], end: ChainEnd): string[] {
  return lines.map((line) => {
    const placed = placeAgain(line, end);
    end = placed.end;
    return placed.line;
  });
}

const unsigned = /the segment's checkpoint is not one that this log's key signed/;
const ways: Record<string, Way> = {
  "a field is edited": {
    change: (lines) => lines.with(touched, edit(lines[touched], { action: "read_job" })),
    at: 0,
    fault: /its content does not have its hash/,
  },
  "a record is deleted": {
    change: (lines) => lines.toSpliced(touched, 1),
    at: 0,
    fault: /record \d+ stands where \d+ belongs/,
  },
  "two records are swapped": {
    change: (lines) => lines.with(touched, lines[touched + 1] ?? "").with(touched + 1, lines[touched] ?? ""),
    at: 0,
    fault: /record \d+ stands where \d+ belongs/,
  },
  "the tail is cut": {
    change: (lines) => lines.slice(0, -3),
    at: null,
    fault: /the log ends at \d+, a checkpoint in .* says it went on/,
    sealFault: unsigned,
  },
  "a record is inserted": {
    change: (lines) => lines.toSpliced(touched, 0, placeAgain(lines[1], endBefore(lines[touched])).line),
    at: 1,
    fault: /record \d+ stands where \d+ belongs/,
  },
  "all of it is rewritten": {
    change: (lines) => rechain(lines.with(touched, edit(lines[touched], { action: "read_job" })), endBefore(lines[0])),
    at: null,
    fault: /the log was rewritten: a signed checkpoint in .* has another hash/,
    sealFault: unsigned,
  },
  "the tail is cut with the local checkpoints": {
    change: (lines) => lines.slice(0, -3),
    at: null,
    fault: /the log ends at \d+, a checkpoint in \S*audit-checkpoints says it went on/,
    localCheckpoints: true,
  },
};

const missing = requireBackend("nats");
describe.skipIf(missing)(`tampering${missing ? `: ${missing}` : ""}`, () => {
  let room: Room;
  /** The log's lines, what is sealed of them first. */
  let lines: string[];
  let sealed: number;

  beforeAll(async () => {
    room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    {
      await using _policy = await room.start({ AETHER_POLICY_SEAL_BYTES: 12_000 });
      for (let n = 0; n < 20; n++) await ask(jobs);
      await waitFor("a segment", () => sealsIn(room.folder).length > 0);
      for (let n = 0; n < 8; n++) await ask(jobs);
    }
    lines = (await storedRecords(room.nats)).map((record) => canonicalJson(record));
    sealed = Number(
      JSON.parse(readFileSync(join(segmentsIn(room.folder), sealsIn(room.folder)[0] ?? ""), "utf8")).last_seq,
    );
  });
  afterAll(() => room[Symbol.asyncDispose]());

  /** A copy of the installation with these records in the stream, one a message; what `verify` finds in it. */
  async function verifyWith(streamed: readonly string[], change: (folder: string) => void) {
    using folder = tempDir();
    for (const part of ["data", "log"]) cpSync(join(room.folder, part), join(folder.path, part), { recursive: true });
    await using nats = await startNats();
    await using bus = await nats.connect("policy-audit");
    for (const line of streamed) await bus.js.publish("aether.audit.v0", line);
    change(folder.path);
    const checkpoints = openCheckpoints(join(folder.path, "data/audit"), join(folder.path, "log"));
    return await verifyLog({ bus, segmentsDir: segmentsIn(folder.path), checkpoints });
  }

  const nothing = () => {};
  const forgetLocal = (seq: number) => (folder: string) => {
    const file = join(folder, "data/audit/checkpoints");
    const { notes } = parseNotes(readFileSync(file, "utf8"));
    writeFileSync(
      file,
      notes
        .filter(({ end }) => end.seq <= seq)
        .map(({ note }) => note)
        .join(""),
    );
  };

  it("is not told where there is none: of the stream, of the segments, of both", async () => {
    const found = [
      await verifyWith(lines, nothing),
      await verifyWith(lines.slice(sealed), nothing),
      await verifyWith(lines, withoutSegments),
    ];
    const whole = { state: "intact", records: lines.length, first_seq: 1, faults: [] };
    expect(found).toMatchObject([whole, whole, whole]);
  });

  it("with a segment, the checkpoints or the public key is told by the service", async () => {
    await using room = await openRoom();
    await using gateway = await room.nats.connect("gateway");
    await using jobs = await room.nats.connect("jobs");
    {
      await using _policy = await room.start({ AETHER_POLICY_SEAL_BYTES: 5000 });
      for (let n = 0; n < 20; n++) await ask(jobs);
      await waitFor("a segment", () => sealsIn(room.folder).length > 0);
    }
    await using _policy = await room.start();
    const file = join(segmentsIn(room.folder), (sealsIn(room.folder)[0] ?? "").replace(".seal.json", ".jsonl"));
    const notes = join(room.folder, "log/audit-checkpoints");
    const envelope = () => ({ envelope: { request_id: createId("req"), principal: operator } });
    const faults = async () => {
      const { state, faults: found } = (await request(gateway, verifyAudit, {}, envelope())).reply;
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
    expect(await whileChanged(file, (text) => text.replace("submit_job", "submit_jab"))).toMatch(
      /^tampered.*its hash/s,
    );
    expect(await whileChanged(file, (text) => `${text.split("\n").slice(0, -3).join("\n")}\n`)).toMatch(
      /^tampered.*seal/s,
    );
    expect(await whileChanged(notes, () => "")).toMatch(/^(intact|incomplete)/);
    expect(await whileChanged(notes, (text) => text.replace(/\n(\d+)\n/, "\n1\n"))).toMatch(/^tampered.*not signed/);
    expect(await whileChanged(join(room.folder, "log/audit-checkpoint.pub"), () => "x")).toMatch(
      /^tampered.*another one/,
    );
    expect(await faults()).toBe("intact: ");
  });

  it.each([
    [
      "a byte is changed in the store's own file",
      (bytes: Buffer) => bytes.fill("S", bytes.length / 2, bytes.length / 2 + 1),
    ],
    ["the store's own file is cut", (bytes: Buffer) => bytes.subarray(0, bytes.length - 3000)],
  ])("%s: told with the place, by the next writer too", async (_, change) => {
    await using broken = await openRoom();
    {
      await using jobs = await broken.nats.connect("jobs");
      await using _policy = await broken.start();
      for (let n = 0; n < 30; n++) await ask(jobs);
    }
    const signed = (await storedRecords(broken.nats)).length;
    const [file = ""] = filesBelow(join(broken.nats.keysDir, "../store")).filter((name) => /AUDIT.*\.blk$/.test(name));
    const ended = once(broken.nats.process, "exit");
    broken.nats.process.kill("SIGKILL");
    await ended;
    writeFileSync(file, change(readFileSync(file)));
    await broken.nats.restart();
    await using gateway = await broken.nats.connect("gateway");
    await using _again = await broken.start();
    const records = await storedRecords(broken.nats);
    const start = records.findLast(({ kind }) => kind === "writer.start")?.seq ?? 0;
    expect(start).toBeGreaterThan(1);
    expect(start).toBeLessThan(signed);
    const lost = `the log went on to record ${signed}, and it ended at ${start - 1}`;
    expect(records.findLast(({ kind }) => kind === "gap")?.note).toContain(lost);
    const envelope = { request_id: createId("req"), principal: operator };
    const { degraded } = (await request(gateway, healthOperation("policy"), {}, { envelope })).reply;
    expect(degraded.join()).toContain(lost);
    const { reply } = await request(gateway, verifyAudit, {}, { envelope });
    expect(reply.state).toBe("tampered");
    const told = reply.faults.filter(({ seq }) => seq === signed).map(({ fault }) => fault);
    expect(told.join()).toMatch(/says it went on|has another hash/);
  });

  describe.each(Object.entries(ways))("%s", (name, { change, at, fault, sealFault = fault, localCheckpoints }) => {
    it("in the stream", async () => {
      const kept = change(lines);
      const cut = localCheckpoints ? forgetLocal(kept.length) : nothing;
      const report = await verifyWith(kept, (folder) => {
        withoutSegments(folder);
        cut(folder);
      });
      expectTold(report, touched + 1);
    });

    it("in the stream, behind what is sealed", async () => {
      const kept = change(lines.slice(sealed));
      const report = await verifyWith(kept, localCheckpoints ? forgetLocal(sealed + kept.length) : nothing);
      expectTold(report, sealed + touched + 1);
    });

    it("in a segment whose seal was made to fit", async () => {
      const kept = change(lines.slice(0, sealed));
      const report = await verifyWith(localCheckpoints ? [] : lines.slice(sealed), (folder) => {
        rewriteSegment(folder, kept);
        if (localCheckpoints) forgetLocal(kept.length)(folder);
      });
      expectTold(report, touched + 1, localCheckpoints ? fault : sealFault);
    });

    it("in a copy, held against the second place alone", async () => {
      using folder = tempDir();
      const copy = join(folder.path, "export.jsonl");
      const kept = change(lines);
      writeFileSync(copy, `${kept.join("\n")}\n`);
      const { key, places } = openCheckpoints(join(room.folder, "data/audit"), join(room.folder, "log"));
      const verification = startVerification([{ name: places[1], content: readFileSync(places[1], "utf8") }], key, {
        isCopy: true,
      });
      await verification.walk(readBatches(copy));
      const report = await verification.report();
      // A copy may only be older.
      if (!/tail/.test(name)) return expectTold(report, touched + 1);
      const older = {
        seq: kept.length + 1,
        fault: expect.stringMatching(/older than the checkpoints, or its end was cut/),
      };
      expect(report).toMatchObject({ state: "incomplete", faults: [older] });
    });

    function expectTold(report: Report, seq: number, wanted = fault) {
      expect(report.state).toBe("tampered");
      const told = report.faults.find((found) => wanted.test(found.fault));
      expect(told, JSON.stringify(report.faults)).toBeDefined();
      if (at !== null) expect(told?.seq).toBe(seq + at);
    }
  });
});

/** Puts lines into the one segment, and everything into its seal that can be made without the key. */
function rewriteSegment(folder: string, lines: readonly string[]): void {
  const sealFile = join(segmentsIn(folder), sealsIn(folder)[0] ?? "");
  const text = `${lines.join("\n")}\n`;
  const { seq, hash } = parse(lines.at(-1));
  writeFileSync(sealFile.replace(".seal.json", ".jsonl"), text);
  const seal = { ...JSON.parse(readFileSync(sealFile, "utf8")), last_seq: seq, last_hash: hash, bytes: text.length };
  writeFileSync(sealFile, JSON.stringify(seal));
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => join(folder, name));
}

const segmentsIn = (folder: string) => join(folder, "data/audit/segments");
const sealsIn = (folder: string) => readdirSync(segmentsIn(folder)).filter((name) => name.endsWith(".seal.json"));
const withoutSegments = (folder: string) => {
  for (const name of readdirSync(segmentsIn(folder))) rmSync(join(segmentsIn(folder), name), { recursive: true });
};
