// Policy killed at random moments under load, often with a second one beside it that is starting or has just taken over.
// Callers keep their own ledger of what they were told; a reader of their own follows the chain. Whatever died: no act was
// allowed without its record, no record stands twice, the chain holds at every moment, and work goes on by itself.
//
// AETHER_POLICY_KILLS says how often (continuous integration: 500), AETHER_SEED repeats a run's moments.
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { type Bus, streamState } from "@aether/bus";
import { type ChainEnd, chainStart, followLine } from "@aether/chain";
import { type AuditRecord, createId } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { readStream } from "../src/audit-stream.ts";
import { openCheckpoints } from "../src/checkpoints.ts";
import { verifyLog } from "../src/verify.ts";
import { ask, openRoom, type Room, stranger } from "./_fixture.ts";
import { path, writer } from "./_jobs.ts";
import { kill, startProcess } from "./_process.ts";

const kills = Number(process.env.AETHER_POLICY_KILLS ?? 25);
const seed = Number(process.env.AETHER_SEED ?? Date.now() % 1e6);
const callers = 4;
/** A start takes about half of it, so as many die while they serve as while they start. */
const momentMaxMs = 900;
/** Every so many kills two are left alone until one has replaced the other. */
const takeOverEvery = 8;
const sealBytes = 150_000;

const missing = requireBackend("nats");
describe.skipIf(missing)(`policy killed at random${missing ? `: ${missing}` : ""}`, () => {
  it(
    `${kills} times under load: every act has its record, no chain is broken, work goes on (seed ${seed})`,
    async () => {
      await using room = await openRoom();
      await using jobs = await room.nats.connect("jobs");
      await using bus = await room.nats.connect("policy-audit");
      const random = createRandom(seed);
      await using pool = openPool(room);
      const log = createReader(bus);
      await using load = startLoad(jobs);
      for (let n = 0; n < kills; n++) {
        pool.start(random() < 0.3 ? 2 : 1);
        if (n % takeOverEvery === 0) {
          pool.start(2);
          await waitFor("one of two to take over", () => pool.size() < 2, 60_000);
        }
        await passes(random() * momentMaxMs);
        await pool.killOne(random());
        await log.read();
      }
      pool.start(1);
      await load[Symbol.asyncDispose]();
      await waitFor("every outcome to be recorded", async () => {
        await log.read();
        return log.outcomes.length >= load.transitions().length;
      });
      await pool[Symbol.asyncDispose]();
      await log.read();

      expect(pool.unexpected).toEqual([]);
      expect(pool.replaced()).toBeGreaterThanOrEqual(Math.ceil(kills / takeOverEvery));
      expect(load.allowed.length).toBeGreaterThan(kills);
      expect([...load.allowed, ...load.denied].filter((id) => log.times.get(id) !== 1)).toEqual([]);
      expect([...log.times].filter(([, times]) => times !== 1)).toEqual([]);
      expect(log.outcomes.toSorted()).toEqual(load.transitions().toSorted());
      expect(log.unannounced).toEqual([]);
      const checkpoints = openCheckpoints(join(room.folder, "data/audit"), join(room.folder, "log"));
      const report = await verifyLog({ bus, segmentsDir: join(room.folder, "data/audit/segments"), checkpoints });
      expect(report).toMatchObject({ state: "intact", first_seq: 1, last_seq: log.end().seq, faults: [] });
      expect(report.segments).toBeGreaterThan(0);
    },
    60_000 + kills * 3_000,
  );
});

/** Processes of the service; the one that starts last takes over. */
function openPool(room: Room) {
  const living = new Set<ChildProcess>();
  const unexpected: string[] = [];
  let replaced = 0;
  const start = () => {
    const child = startProcess(room, { AETHER_POLICY_SEAL_BYTES: sealBytes });
    living.add(child);
    child.once("exit", (code, signal) => {
      living.delete(child);
      // 3: another one took over; 1: another one wrote while it started. Its supervisor starts it again.
      if (code === 3 || code === 1) replaced++;
      else if (signal !== "SIGKILL" && code !== 0) unexpected.push(`ended with ${code ?? signal}`);
    });
  };
  return {
    unexpected,
    replaced: () => replaced,
    size: () => living.size,
    /** Sees to it that so many live. */
    start(count: number) {
      while (living.size < count) start();
    },
    async killOne(share: number) {
      const child = [...living][Math.floor(share * living.size)];
      if (child) await kill(child, "SIGKILL");
    },
    async [Symbol.asyncDispose]() {
      for (const child of [...living]) await kill(child, "SIGTERM");
    },
  };
}

/** Callers that ask as fast as they are answered, and jobs that go from state to state. */
function startLoad(jobs: Bus) {
  const [allowed, denied]: [string[], string[]] = [[], []];
  const steps = writer(jobs);
  const state = { ended: false };
  const call = async () => {
    while (!state.ended) {
      const wanted = Math.random() < 0.05 ? { principal: { ...stranger, id: createId("req") } } : {};
      // Work goes on by itself: whatever died, an answer comes.
      const reply = await waitFor("an answer", () => ask(jobs, wanted, 3_000).catch(() => null), 60_000);
      (reply.outcome === "allow" ? allowed : denied).push(reply.decision_id ?? "none");
    }
  };
  const work = async () => {
    while (!state.ended) {
      const id = createId("job");
      for (const _ of path) {
        await steps.next(id);
        await passes(20);
      }
    }
  };
  const running = Promise.all([work(), ...Array.from({ length: callers }, call)]);
  running.catch(() => {}); // told when it is awaited
  return {
    allowed,
    denied,
    /** Every transition, as job and revision. */
    transitions: () =>
      [...steps.revisions].flatMap(([id, revisions]) => revisions.map((revision) => `${id} ${revision}`)),
    async [Symbol.asyncDispose]() {
      state.ended = true;
      await running;
    },
  };
}

/** Follows the chain as it grows, by itself. */
function createReader(bus: Bus) {
  const times = new Map<string, number>();
  const [outcomes, unannounced]: [string[], number[]] = [[], []];
  let [sequence, end]: [number, ChainEnd] = [0, chainStart];
  let kinds: [string, string] = ["writer.stop", "writer.stop"];
  const take = (line: string) => {
    const next = followLine(line, end);
    if (typeof next === "string") throw new Error(`seq ${end.seq + 1}: ${next}`);
    end = next;
    const { id, kind, seq, job_id, provenance } = JSON.parse(line) as AuditRecord;
    times.set(id, (times.get(id) ?? 0) + 1);
    if (kind === "outcome") outcomes.push(`${job_id} ${provenance.source?.sequence}`);
    // A start behind anything but an end is followed by a word about what may be missing.
    const [before, last] = kinds;
    if (last === "writer.start" && before !== "writer.stop" && kind !== "gap") unannounced.push(seq);
    kinds = [last, kind];
  };
  return {
    times,
    outcomes,
    unannounced,
    end: () => end,
    async read() {
      const { lastSequence } = await streamState(bus, "AUDIT");
      for await (const message of readStream(bus, sequence + 1, lastSequence)) {
        for (const line of new TextDecoder().decode(message.data).split("\n")) take(line);
        sequence = message.sequence;
      }
    },
  };
}

/** A random number generator whose numbers a seed repeats. */
function createRandom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const passes = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
