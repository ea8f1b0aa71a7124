// The worker of a host: takes jobs that fit, runs each in a sandbox, tells what becomes of them. It is the only maker of
// sandboxes. Each start of the process is a new incarnation: it first ends what its predecessor left on this host, and when
// its lease is over it ends itself, for its supervisor to start the next one.
import { availableParallelism, totalmem } from "node:os";
import { type Bus, connectBus, request } from "@aether/bus";
import {
  appendLog,
  type Capacity,
  type Claim,
  claimJobs,
  createId,
  ProblemError,
  renewWorker,
  reportAttempt,
} from "@aether/contracts";
import { type Driver, groupPath, reapIncarnations, startBubblewrapDriver } from "@aether/sandbox";
import type { Logger } from "@aether/telemetry";
import { type Attempt, type AttemptParts, startAttempt } from "./attempt.ts";
import type { WorkerConfig } from "./config.ts";
import { type Lease, startLease } from "./lease.ts";
import { startOffers } from "./offers.ts";
import { createTakeSecret } from "./secrets.ts";
import { createTransfers } from "./transfers.ts";
import { bootNowMs, isExpired, readWardenAlive, removeDeadline, writeDeadline } from "./warden.ts";

export { WorkerConfig } from "./config.ts";

const memoryShare = 0.8;
const wardenSilenceMs = 3_000;
/** How long an answer may take beyond its wait: an instance that died or stands is noticed, and another one asked, in time. */
const renewMarginMs = 1_500;
const retryMs = 200;

/** Starts the worker; `onLost` is called once when this incarnation must not go on. */
export async function startWorker(
  config: WorkerConfig,
  log: Logger,
  onLost: (why: string) => void,
  overrides: { driver?: Driver } = {},
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const incarnation = createId("wrk");
  await reapIncarnations({ ...placesOf(config), incarnation });
  const bus = stack.use(
    await connectBus({
      server: config.AETHER_NATS_URL,
      user: `worker-${config.AETHER_WORKER_HOST}`,
      seedFile: config.AETHER_WORKER_SEED_FILE,
      otlpEndpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
      log,
    }),
  );
  const driver = overrides.driver ?? stack.use(await startDriver(config, incarnation, log));
  const capacity = capacityOf(config, driver);
  const attempts = new Map<string, Attempt>();
  const calls = createCalls(bus, incarnation, config);
  const probe = await driver.probe();
  const degraded = probe.usable ? null : probe.problems.map((problem) => `${problem.cause} ${problem.mend}`).join(" ");
  if (degraded) log.error({ degraded }, "no sandbox can be made here: jobs will be refused");

  let lost = false;
  function lose(why: string): void {
    if (lost) return;
    lost = true;
    log.error({ why }, "the lease is over: ending everything this incarnation runs");
    for (const attempt of attempts.values()) {
      attempt.order("drop", 0);
      // Its end is told when nothing of it is left; what stays untold the reconciler finds out by itself.
      void attempt.done.then(() => sayExpired(calls.report, attempt.claim));
    }
    onLost(why);
  }

  const group = probe.usable ? groupPath({ instance: config.AETHER_WORKER_INSTANCE, incarnation }) : null;
  stack.defer(() => removeDeadline(config.AETHER_WORKER_RUN_DIR, incarnation));
  const lease: Lease = stack.use(
    await startLease({
      renew: (input) =>
        calls.renew({ ...input, capacity, pools: config.AETHER_WORKER_POOLS, drivers: [driver.name], degraded }),
      held: () =>
        [...attempts.values()].map(({ claim, stopping }) => ({
          job_id: claim.job_id,
          attempt: claim.attempt,
          stopping,
        })),
      bootNowMs,
      writeDeadline: (deadlineMs) => {
        if (group) writeDeadline(config.AETHER_WORKER_RUN_DIR, incarnation, deadlineMs, group);
      },
      onOrders: (orders) => {
        for (const { job_id, attempt, order, grace_ms } of orders) {
          attempts.get(`${job_id}/${attempt}`)?.order(order, grace_ms);
        }
      },
      onLost: lose,
      log,
    }),
  );
  const isCovered = () => lease.isHeld() && !isExpired(config.AETHER_WORKER_RUN_DIR, incarnation);
  const parts: AttemptParts = {
    driver,
    wardenProblem: () => wardenProblem(config),
    isCovered,
    report: calls.report,
    appendLog: calls.appendLog,
    tracer: bus.tracer,
    transfers: createTransfers(bus),
    agentsDir: config.AETHER_WORKER_AGENTS_DIR ?? null,
    takeSecret: createTakeSecret(bus),
    log,
  };
  const offers = stack.use(
    startOffers({
      capacity,
      freeDiskBytes: () => driver.freeDiskBytes(),
      claim: (free, waitMs) => calls.claim(free, waitMs),
      run: async (claim) => {
        const attempt = startAttempt(claim, parts);
        const key = `${claim.job_id}/${claim.attempt}`;
        attempts.set(key, attempt);
        await attempt.done;
        attempts.delete(key);
      },
      mayStart: () => isCovered() && wardenProblem(config) === null,
      onGone: lose,
      log,
    }),
  );
  log.info({ incarnation, capacity, pools: config.AETHER_WORKER_POOLS }, "worker takes jobs");
  const running = stack.move();
  return {
    async [Symbol.asyncDispose]() {
      await offers[Symbol.asyncDispose]();
      const ending = [...attempts.values()].map((attempt) => {
        attempt.order("drop", 0);
        return attempt.done;
      });
      await Promise.all(ending);
      await lease[Symbol.asyncDispose]();
      if (bus.connected && !lost)
        await calls
          .leave(capacity, driver.name)
          .catch((error: unknown) => log.warn({ err: error }, "could not say goodbye"));
      await running.disposeAsync();
    },
  };
}

/** Until it is heard or this process ends: the connection may have been lost with the lease, and comes back first. */
async function sayExpired(report: AttemptParts["report"], claim: Claim): Promise<void> {
  for (;;) {
    try {
      return await report(claim, { event: "expired" });
    } catch (error) {
      if (error instanceof ProblemError && error.problem.status < 500) return;
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}

type PlaceConfig = Pick<WorkerConfig, "AETHER_WORKER_INSTANCE" | "AETHER_WORKER_STATE_DIR" | "AETHER_WORKER_RUN_DIR">;

/** Starts the driver this host can use. */
export function startDriver(
  config: PlaceConfig & Pick<WorkerConfig, "AETHER_WORKER_WARM_DISKS">,
  incarnation: string,
  log: Logger,
): Promise<Driver> {
  const { AETHER_WORKER_WARM_DISKS: warmDisks } = config;
  return startBubblewrapDriver({
    ...placesOf(config),
    incarnation,
    ...(warmDisks === undefined ? {} : { warmDisks }),
    log: (message, fields) => log.info(fields, message),
  });
}

function placesOf(config: PlaceConfig) {
  return {
    instance: config.AETHER_WORKER_INSTANCE,
    stateDir: config.AETHER_WORKER_STATE_DIR,
    runDir: config.AETHER_WORKER_RUN_DIR,
  };
}

function capacityOf(config: WorkerConfig, driver: Driver): Capacity {
  return {
    cpus: config.AETHER_WORKER_CPUS ?? availableParallelism(),
    memory_bytes: config.AETHER_WORKER_MEMORY_BYTES ?? Math.floor(totalmem() * memoryShare),
    disk_bytes: driver.freeDiskBytes(),
    slots: config.AETHER_WORKER_SLOTS,
  };
}

function wardenProblem(config: WorkerConfig): string | null {
  const aliveAt = readWardenAlive(config.AETHER_WORKER_RUN_DIR);
  if (aliveAt !== null && bootNowMs() - aliveAt < wardenSilenceMs) return null;
  return "the warden of this host does not run, so nothing may start; `aether doctor` tells more";
}

/** The operations a worker calls, with the incarnation filled in. */
function createCalls(bus: Bus, incarnation: string, config: WorkerConfig) {
  const envelope = () => ({ envelope: { request_id: createId("req") } });
  return {
    async claim(free: Capacity, waitMs: number): Promise<Claim[]> {
      const input = {
        incarnation,
        pools: config.AETHER_WORKER_POOLS,
        drivers: ["bubblewrap"],
        free,
        max: Math.min(64, Math.max(1, free.slots)),
        wait_ms: waitMs,
      };
      const { reply } = await request(bus, claimJobs, input, { ...envelope(), timeoutMs: waitMs + 2_000 });
      return reply.claims;
    },
    async renew(
      input: Omit<Parameters<typeof request<typeof renewWorker.request, typeof renewWorker.reply>>[2], "incarnation">,
    ) {
      const { reply } = await request(
        bus,
        renewWorker,
        { ...input, incarnation },
        { ...envelope(), timeoutMs: input.wait_ms + renewMarginMs },
      );
      return reply;
    },
    async leave(capacity: Capacity, driver: string): Promise<void> {
      const input = {
        incarnation,
        beat: 1,
        capacity,
        pools: config.AETHER_WORKER_POOLS,
        drivers: [driver],
        degraded: null,
        leaving: true,
        held: [],
        wait_ms: 0,
      };
      await request(bus, renewWorker, input, { ...envelope(), timeoutMs: 2_000 });
    },
    report: (async ({ job_id, attempt, secret, traceparent }, report) => {
      await request(
        bus,
        reportAttempt,
        { incarnation, job_id, attempt, secret, report },
        { envelope: { request_id: createId("req"), ...(traceparent && { traceparent }) }, timeoutMs: 5_000 },
      );
    }) satisfies AttemptParts["report"],
    appendLog: (async ({ job_id, attempt, secret }, batch, bytes) => {
      await request(bus, appendLog, { job_id, attempt, secret, batch }, { ...envelope(), bytes, timeoutMs: 5_000 });
    }) satisfies AttemptParts["appendLog"],
  };
}
