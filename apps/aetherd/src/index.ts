// The daemon: keeps nats-server, the core services, the gateway, the worker and its warden running, in the order that each
// needs, for as long as it lives.
//
// Every process is one of its own and may die at any time: it is started again and finds the others by itself. The core
// waits only until the streams are there; what runs jobs starts when what accepts them is up. Ending goes the other way: the
// gateway first, so that nothing new comes in, nats-server last, so that everybody can write down what he knows.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { connectBus, provision, seedFile } from "@aether/bus";
import type { Layout } from "@aether/contracts";
import { startOpener } from "@aether/opener";
import { type Logger, openLog } from "@aether/telemetry";
import manifest from "../package.json" with { type: "json" };
import { requireAccount } from "./account.ts";
import type { AetherdConfig } from "./config.ts";
import { foldersOf, makeFolders, openerSocket } from "./folders.ts";
import { endLeftovers } from "./leftovers.ts";
import { takeLock } from "./lock.ts";
import { type NatsServer, startNatsServer } from "./nats-server.ts";
import {
  baseEnvironment,
  type ProgramContext,
  type ProgramName,
  programSpec,
  servingPrograms,
  stopOrder,
  workingPrograms,
} from "./programs.ts";
import { waitUntilUp } from "./ready.ts";
import { type DaemonState, removeState, writeState } from "./state.ts";
import { chooseStoreBytes } from "./store-size.ts";
import { type Supervised, supervise } from "./supervise.ts";
import { watchNats } from "./watch-nats.ts";

export { AetherdConfig } from "./config.ts";

const upLimitMs = 60_000;

export interface Aetherd extends AsyncDisposable {
  /** What is up but not whole, and why. */
  readonly degraded: readonly string[];
}

/** Starts everything; resolves when every service answers. Throws when `ending` is aborted meanwhile. */
export async function startAetherd(layout: Layout, config: AetherdConfig, ending: AbortSignal): Promise<Aetherd> {
  await using stack = new AsyncDisposableStack();
  const account = process.getuid?.() === 0 ? await requireAccount() : null;
  makeFolders(foldersOf(layout, account), account);
  stack.use(takeLock(layout));
  const log = openLog({ name: "aetherd", file: join(layout.logDir, "aetherd.jsonl") });
  const ended = await endLeftovers(layout.runDir);
  if (ended > 0) log.warn({ processes: ended }, "ended what an earlier aetherd left behind");
  const record = stack.adopt(createRecord(layout), () => removeState(layout));
  record.write();

  const storeBytes = chooseStoreBytes(layout, config.AETHER_STORE_SIZE ?? null);
  const hosts = [config.AETHER_WORKER_HOST];
  const env = baseEnvironment(layout, config);
  const nats = await startNatsServer({
    ...{ layout, account, hosts, storeBytes, env, log },
    program: config.AETHER_NATS_SERVER,
    searchPath: config.PATH,
    onChange: record.write,
  });
  stack.defer(() => nats.process.stop());
  record.nats = nats;
  record.write();

  if (account) {
    const { uid } = account;
    const refused = (peer: object) => log.warn({ peer }, "a connection to the opener was refused");
    const files = { socketPath: openerSocket(layout), filesDir: layout.artifactsDir, env, onRefused: refused };
    stack.use(await startOpener({ uid, ...files }));
  }
  const provisioned = provisionAll(layout, nats.url, storeBytes, log);
  const context = { layout, account, config, natsUrl: nats.url };
  const start = createStarter(context, record, log, stack);
  for (const name of servingPrograms) start(name, name === "core" ? provisioned : undefined);
  await provisioned;
  const health = await waitUntilUp(layout.socket, upLimitMs, ending);
  for (const name of workingPrograms) start(name);
  stack.use(watchNats(nats, log));
  record.phase = "up";
  record.write();
  log.info({ socket: layout.socket, nats_url: nats.url, health: health.status }, "aether is up");
  stack.defer(() => {
    record.phase = "stopping";
    record.write();
  });
  const running = stack.move();
  return {
    degraded: health.services.flatMap(({ name, degraded }) => degraded.map((why) => `${name}: ${why}`)),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function provisionAll(layout: Layout, server: string, storeBytes: number, log: Logger): Promise<void> {
  await Promise.all(
    (["CORE", "AUDIT"] as const).map(async (account) => {
      const user = `provision-${account.toLowerCase()}`;
      await using bus = await connectBus({ server, user, seedFile: seedFile(layout.keysDir, user), log });
      await provision(bus, account, { storeBytes });
    }),
  );
}

/** Starts programs and, with the stack, ends them in their order. */
function createStarter(context: ProgramContext, record: Recorded, log: Logger, stack: AsyncDisposableStack) {
  const running = new Map<ProgramName, Supervised>();
  stack.defer(async () => {
    for (const name of stopOrder) await running.get(name)?.stop();
    // Its folder is root's, so the gateway itself could not remove it.
    rmSync(context.layout.socket, { force: true });
  });
  return (name: ProgramName, gate?: Promise<unknown>): void => {
    const spec = programSpec(name, context);
    const program = supervise(gate === undefined ? spec : { ...spec, gate }, { log, onChange: record.write });
    running.set(name, program);
    record.programs.push(program);
    record.write();
  };
}

interface Recorded {
  phase: DaemonState["state"];
  nats: NatsServer | null;
  programs: Supervised[];
  write(): void;
}

/** What the state file tells, written anew whenever it changes. */
function createRecord(layout: Layout): Recorded {
  const startedAt = new Date().toISOString();
  const record: Recorded = {
    phase: "starting",
    nats: null,
    programs: [],
    write() {
      const all = record.nats ? [record.nats.process, ...record.programs] : record.programs;
      writeState(layout, {
        pid: process.pid,
        version: manifest.version,
        started_at: startedAt,
        state: record.phase,
        socket: layout.socket,
        nats_url: record.nats?.url ?? null,
        nats_monitor: record.nats?.monitor ?? null,
        processes: all.map(({ name, pid, restarts }) => ({ name, pid, restarts })),
      });
    },
  };
  return record;
}
