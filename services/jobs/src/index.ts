// The jobs service: the records of all jobs, their placement, leases and logs. Any number of instances may run.
import { type Bus, connectBus, handler, serve } from "@aether/bus";
import { healthOperation } from "@aether/contracts";
import { watchSpace } from "@aether/service";
import { createRegistry, type Logger } from "@aether/telemetry";
import { agentHandlers, agentsKey } from "./agent-handlers.ts";
import { openAgents } from "./agents.ts";
import { followApprovals } from "./approvals.ts";
import type { JobsConfig } from "./config.ts";
import { jobHandlers, logKey } from "./handlers.ts";
import { type JobIndex, openJobIndex } from "./index-view.ts";
import { openLeases } from "./leases.ts";
import { openLogs } from "./logs.ts";
import { createJobsMetrics } from "./metrics.ts";
import { startReconciler } from "./reconciler.ts";
import { openStore } from "./store.ts";
import { createWaiters, type Waiters } from "./waiters.ts";
import { orderKey, queueKey, workerHandlers } from "./worker-handlers.ts";

export { JobsConfig } from "./config.ts";

const version = "0.1.0";

/** Starts an instance; resolves when it serves. Disposing it answers what is asked already, then leaves. */
export async function startJobs(
  config: JobsConfig,
  log: Logger,
  overrides: { bus?: Bus } = {},
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const clock = { now: () => new Date(), monotonicMs: () => performance.now(), random: Math.random };
  const bus =
    overrides.bus ??
    stack.use(
      await connectBus({
        ...{ server: config.AETHER_NATS_URL, user: "jobs", seedFile: config.AETHER_JOBS_SEED_FILE, log },
        otlpEndpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
      }),
    );
  const waiters = createWaiters();
  const space = watchSpace(config.AETHER_JOBS_STORE_DIR ?? null, config.AETHER_JOBS_FREE_FLOOR_BYTES);
  const logs = openLogs(bus, clock, (id) => waiters.wake(logKey(id)));
  const leases = stack.use(await openLeases(bus, clock, () => {}, config.AETHER_JOBS_WORKER_GONE_MS));
  const agents = stack.use(await openAgents(bus, clock, () => waiters.wake(agentsKey)));
  const index: JobIndex = stack.use(
    await openJobIndex(bus, config.AETHER_JOBS_VIEW_FILE, (ids) => wakeFor(ids, () => index, waiters)),
  );
  const metrics = createRegistry();
  const measures = createJobsMetrics(metrics, { index, leases });
  const store = openStore(bus, clock, measures.stored);
  const approvals = stack.use(await followApprovals({ bus, store, index }));
  stack.use(startReconciler({ store, index, leases, logs, approvals, clock, log }, config.AETHER_JOBS_RECONCILE_MS));
  const health = handler(healthOperation("jobs"), {
    handle: async () => {
      const workers = leases
        .workers()
        .flatMap(({ host, degraded }) => (degraded ? [`worker ${host}: ${degraded}`] : []));
      return { version, degraded: [...(await space.degraded()), ...workers] };
    },
  });
  stack.use(
    await serve(bus, {
      service: "jobs",
      version,
      description: "Records, placement, leases and logs of jobs",
      idempotency: true,
      metrics,
      handlers: [
        ...jobHandlers({
          ...{ bus, store, agents, index, leases, logs, approvals, waiters, clock },
          requireSpace: space.require,
        }),
        ...workerHandlers({
          bus,
          store,
          agents,
          index,
          leases,
          logs,
          approvals,
          waiters,
          clock,
          logMaxBytes: config.AETHER_JOBS_LOG_MAX_BYTES,
          onLogged: measures.logged,
        }),
        ...agentHandlers({ bus, agents, waiters }),
        health,
      ],
    }),
  );
  const running = stack.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Wakes those who wait for these jobs, for work, or for orders about them. */
function wakeFor(ids: string[], index: () => JobIndex, waiters: Waiters): void {
  for (const id of ids) {
    waiters.wake(id);
    const job = waiters.size > 0 ? index().find(id) : null;
    if (job?.state === "queued") waiters.wake(queueKey);
    if (job?.incarnation) waiters.wake(orderKey(job.incarnation));
  }
}
