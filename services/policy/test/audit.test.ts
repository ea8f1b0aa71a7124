// The audit log under trouble: a server that dies or freezes, a second writer, a process that is killed.
import { join } from "node:path";
import { type Bus, request, streamState } from "@aether/bus";
import { createId, type DecideReply, healthOperation, ProblemError } from "@aether/contracts";
import { requireBackend, silentLog, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { openAuditLog } from "../src/audit-log.ts";
import { createDecider } from "../src/decider.ts";
import { openDesk } from "../src/desk.ts";
import { openEngine } from "../src/engine.ts";
import { readPolicyFiles } from "../src/policy-files.ts";
import { startTally } from "../src/tally.ts";
import { verifyLog } from "../src/verify.ts";
import { ask, member, openRoom, question, type Room, storedRecords } from "./_fixture.ts";

const missing = requireBackend("nats");
describe.skipIf(missing)(`the audit log${missing ? `: ${missing}` : ""}`, () => {
  it("an act is answered after its record is stored, many records share one append", async () => {
    await using room = await openRoom();
    await using parts = await openParts(room);
    const replies = await Promise.all(Array.from({ length: 200 }, () => parts.decide()));
    const { lastSequence } = await streamState(parts.bus, "AUDIT");
    expect(lastSequence).toBeLessThan(20);
    const stored = new Set((await storedRecords(room.nats)).map(({ id }) => id));
    expect(replies.every(({ decision_id }) => stored.has(decision_id ?? ""))).toBe(true);
    expect((await parts.verify()).state).toBe("intact");
  });

  it("nothing is decided and nothing is stored while the server is dead", async () => {
    await using room = await openRoom();
    await using parts = await openParts(room);
    await parts.decide();
    room.nats.process.kill("SIGKILL");
    const refused = await Promise.allSettled(Array.from({ length: 20 }, () => parts.decide()));
    for (const outcome of refused) {
      expect(outcome.status === "rejected" && outcome.reason).toMatchObject({ slug: "audit-unavailable" });
    }
    await room.nats.restart();
    const { decision_id } = await waitFor("decisions to go on", () => parts.decide().catch(() => null));
    const decisions = (await storedRecords(room.nats)).filter(({ kind }) => kind === "decision");
    expect(decisions).toHaveLength(2);
    expect(decisions[1]?.id).toBe(decision_id);
    expect((await parts.verify()).state).toBe("intact");
  });

  it("an outcome that is not known is looked up: no fork, nothing twice, nobody told wrong (attack 12)", async () => {
    await using room = await openRoom();
    await using parts = await openParts(room);
    const allowed: DecideReply[] = [];
    let refused = 0;
    const decide = () =>
      parts.decide().then(
        (reply) => void allowed.push(reply),
        () => void refused++,
      );
    for (let round = 0; round < 3; round++) {
      const frozen = Array.from({ length: 40 }, decide);
      room.nats.process.kill("SIGSTOP");
      await Promise.all([...frozen, ...Array.from({ length: 40 }, decide)]);
      room.nats.process.kill("SIGCONT");
      await waitFor("decisions to go on", () =>
        parts
          .decide()
          .then((reply) => allowed.push(reply))
          .catch(() => null),
      );
    }
    expect(refused).toBeGreaterThan(0);
    const ids = (await storedRecords(room.nats)).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(allowed.filter(({ decision_id }) => !ids.includes(decision_id ?? ""))).toEqual([]);
    expect(await parts.verify()).toMatchObject({ state: "intact", faults: [] });
  });

  it("a second writer takes over, the first one answers nothing more (attack 12)", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    await using first = await room.start();
    await ask(jobs);
    await using _second = await room.start();
    // Both take from one queue until the first one meets the second's record.
    const reason = waitFor("the first to be replaced", async () => {
      await ask(jobs).catch(() => null);
      return await Promise.race([first.superseded, null]);
    });
    expect(await reason).toMatch(/another writer/);
    for (let n = 0; n < 30; n++) expect((await ask(jobs)).outcome).toBe("allow");
    const records = await storedRecords(room.nats);
    expect(records.map(({ seq }) => seq)).toEqual(records.map((_, index) => index + 1));
    expect(records.filter(({ kind }) => kind === "writer.start")).toHaveLength(2);
    expect(records.filter(({ kind }) => kind === "gap")).toHaveLength(1);
    await using gateway = await room.nats.connect("gateway");
    const health = { envelope: { request_id: createId("req"), principal: member } };
    expect((await request(gateway, healthOperation("policy"), {}, health)).reply.degraded).toEqual([]);
  });

  it("a writer says how the one before it ended (attack 19)", async () => {
    await using room = await openRoom();
    for (let n = 0; n < 2; n++) await ended(await room.start());
    {
      const parts = await openParts(room);
      await parts.kill();
    }
    await ended(await room.start());
    const kinds = (await storedRecords(room.nats)).map(({ kind }) => kind);
    const clean = ["writer.start", "writer.stop"];
    expect(kinds).toEqual([...clean, ...clean, "writer.start", "writer.start", "gap", "writer.stop"]);
  });

  it("status reads are refused while the last counts are not stored (attack 19)", async () => {
    await using room = await openRoom();
    await using parts = await openParts(room);
    const read = () =>
      parts.decider.decide(question({ action: "read_job", record: "summary" }), "jobs").then(
        () => "read",
        (error: unknown) => (error instanceof ProblemError ? error.slug : error),
      );
    expect(await read()).toBe("read");
    room.nats.process.kill("SIGSTOP");
    void parts.tally.write();
    expect(await read()).toBe("audit-unavailable");
    expect(await read()).toBe("audit-unavailable");
    room.nats.process.kill("SIGCONT");
    await waitFor("reads to go on", async () => (await read()) === "read");
    await parts.tally.write();
    const counted = (await storedRecords(room.nats)).filter(({ kind }) => kind === "summary");
    expect(counted.map(({ count }) => count)).toEqual([1, 1]);
  });
});

async function ended(handle: AsyncDisposable): Promise<void> {
  await handle[Symbol.asyncDispose]();
}

interface Parts extends AsyncDisposable {
  bus: Bus;
  decider: ReturnType<typeof createDecider>;
  tally: ReturnType<typeof startTally>;
  decide(): Promise<DecideReply>;
  verify(): ReturnType<typeof verifyLog>;
  /** Ends as a process does that is killed: nothing more is written. */
  kill(): Promise<void>;
}

/** The log with real policies over it, without the request side: what happens when only the store is away. */
async function openParts(room: Room): Promise<Parts> {
  const bus = await room.nats.connect("policy-audit");
  const dirs = { dataDir: join(room.folder, "data"), checkpointDir: join(room.folder, "log") };
  const log = await openAuditLog({ bus, ...dirs, sealBytes: 2 ** 26, log: silentLog });
  const tally = startTally(log.append, silentLog);
  const engine = openEngine(await readPolicyFiles(null));
  const policyBus = await room.nats.connect("policy");
  const operators = { uids: [0], gids: [] };
  const clock = { now: () => new Date() };
  const desk = await openDesk({ bus: policyBus, engine, log, operators, clock, logger: silentLog, onEnd: () => {} });
  const decider = createDecider({ engine, asking: desk.asking, tokens: { verify: async () => null }, tally, log });
  return {
    bus,
    decider,
    tally,
    decide: () => decider.decide(question(), "jobs"),
    verify: () => verifyLog({ bus, segmentsDir: log.segmentsDir, checkpoints: log.checkpoints }),
    async kill() {
      await desk[Symbol.asyncDispose]();
      await policyBus[Symbol.asyncDispose]();
      await bus[Symbol.asyncDispose]();
    },
    async [Symbol.asyncDispose]() {
      await desk[Symbol.asyncDispose]();
      await policyBus[Symbol.asyncDispose]();
      await tally[Symbol.asyncDispose]();
      await log[Symbol.asyncDispose]();
      await bus[Symbol.asyncDispose]();
    },
  };
}
