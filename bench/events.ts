// Events, derived and emitted, against synced publishes of their size in the same run, which is what storing one costs.
//
// Derived: the service follows a bucket in which records of jobs were taken through four transitions each while it was away, so
// that it is not the writer who is measured. Emitted: 64 calls at once over the bus, each decided and recorded first.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type Bus, openBucket, request, seedFile, streamState } from "@aether/bus";
import { createId, emitEvent, type Principal } from "@aether/contracts";
import { startNats, type TestNats, tempDir, waitFor } from "@aether/testkit";
import { z } from "zod";
import { startAether } from "../tests/_aether.ts";
import { type Figure, rate } from "./measure.ts";

const callers = 64;
const jobs = 3_000;
const states = ["queued", "starting", "running", "succeeded"];
const principal: Principal = { type: "User", id: "0", roles: ["operator"] };

export async function benchEvents(): Promise<Figure[]> {
  return [await benchDerived(), await benchEmitted()];
}

async function benchDerived(): Promise<Figure> {
  await using nats = await startNats();
  using folder = tempDir();
  await using bus = await nats.connect("jobs");
  await using reader = await nats.connect("events");
  await writeJobs(bus);
  const service = startService(nats, folder.path);
  try {
    const stored = async () => (await streamState(reader, "EVENTS")).lastSequence;
    await waitFor("the first event", async () => (await stored()) > 0, 30_000);
    const [before, start] = [await stored(), performance.now()];
    await waitFor("every event", async () => (await stored()) >= jobs * states.length, 60_000);
    const derived = (jobs * states.length - before) / ((performance.now() - start) / 1000);
    return await toFigure("events derived from transitions", derived, bus);
  } finally {
    const ended = once(service, "exit");
    service.kill("SIGTERM");
    await ended;
  }
}

async function benchEmitted(): Promise<Figure> {
  await using aether = await startAether({ worker: false, storeBytes: 4 * 1024 ** 3 });
  await using gateway = await aether.connect("gateway");
  await using bus = await aether.connect("jobs");
  const data = { text: "x".repeat(300) };
  const emit = (id: string) =>
    request(
      gateway,
      emitEvent,
      { specversion: "1.0", id, type: "com.example.bench", data } as z.input<typeof emitEvent.request>,
      { envelope: { principal, request_id: createId("req") } },
    );
  await rate(500, callers, (n) => emit(`warm-${n}`));
  const emitted = await rate(5_000, callers, (n) => emit(`bench-${n}`));
  return await toFigure("events emitted, 64 callers, each decided and recorded", emitted, bus);
}

async function toFigure(name: string, value: number, bus: Bus): Promise<Figure> {
  const body = new Uint8Array(500);
  const publish = (n: number) => bus.js.publish(`aether.log.v0.bench-${n % 1000}`, body);
  const one = await rate(2_000, 1, publish);
  const many = await rate(10_000, callers, publish);
  return {
    ...{ name, value, unit: "events/s", baseline: { name: "one synced publish at a time", value: one } },
    ...{ ratio: value / one, aim: "≥ 1×", met: value >= one },
    note: `${callers} publishes at once ${Math.round(many)}/s`,
  };
}

/** Records as the jobs service leaves them: the last one of each, with all its transitions. */
async function writeJobs(bus: Bus): Promise<void> {
  const bucket = openBucket(bus, "jobs", z.unknown());
  await rate(jobs, callers, async () => {
    const id = createId("job");
    const transitions: object[] = [];
    let after = 0;
    for (const [index, to] of states.entries()) {
      const at = new Date().toISOString();
      transitions.push({ from: states[index - 1] ?? null, to, reason: null, attempt: 1, at, after });
      const record = { id, owner: "user:0", intent_id: null, exit_code: 0, transitions };
      after = await (after === 0 ? bucket.create(id, record) : bucket.update(id, record, after));
    }
  });
}

function startService(nats: TestNats, folder: string): ChildProcess {
  const main = join(import.meta.dirname, "../services/events/src/main.ts");
  return spawn(process.execPath, [...process.execArgv, main], {
    stdio: ["ignore", "inherit", "inherit"],
    env: {
      AETHER_NATS_URL: nats.url,
      AETHER_EVENTS_SEED_FILE: seedFile(nats.keysDir, "events"),
      AETHER_EVENTS_VIEW_FILE: join(folder, "events.sqlite"),
      AETHER_LOG_FILE: join(folder, "events.log"),
    },
  });
}
