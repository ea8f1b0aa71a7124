// The numbers of the jobs service: what became of jobs, as this instance has stored it; what waits and runs; which workers there
// are and how full, as their renewals and the records say; what came as logs.
import { isTerminal, type QuotaName } from "@aether/contracts";
import type { Registry } from "@aether/telemetry";
import type { JobIndex } from "./index-view.ts";
import type { StoredJob } from "./job.ts";
import type { Leases } from "./leases.ts";

type Worker = ReturnType<Leases["workers"]>[number];

const waitBounds = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 3600];
const runBounds = [0.1, 0.5, 1, 5, 10, 60, 300, 1800, 3600, 21_600, 86_400];

export interface JobsMetrics {
  /** Told of a record that was stored, and of the one before it. */
  stored(job: StoredJob, before: StoredJob | null): void;
  logged(lines: number, bytes: number): void;
  refused(quota: QuotaName): void;
}

export function createJobsMetrics(
  registry: Registry,
  parts: { index: Pick<JobIndex, "countOpen" | "held">; leases: Pick<Leases, "workers"> },
): JobsMetrics {
  const submitted = registry.counter("aether.jobs.submitted", "{job}", "Jobs that were accepted");
  const started = registry.counter("aether.jobs.started", "{attempt}", "Attempts whose command was released");
  const ended = registry.counter("aether.jobs.ended", "{job}", "Jobs that ended, by state");
  const wait = registry.histogram("aether.jobs.queue.wait", "s", "From being queued to being claimed", waitBounds);
  const runtime = registry.histogram("aether.jobs.duration", "s", "How long commands ran, by state", runBounds);
  const lines = registry.counter("aether.logs.lines", "{line}", "Log lines that were stored");
  const bytes = registry.counter("aether.logs.size", "By", "Bytes of log lines that were stored");
  const refused = registry.counter("aether.quota.refused", "{request}", "What a quota has refused, by its name");
  registry.gauge("aether.jobs.current", "{job}", "Jobs that have not ended, by state", () =>
    parts.index.countOpen().map(({ state, count }) => ({ attributes: { "aether.job.state": state }, value: count })),
  );
  /** One point a host, also where a newer incarnation stands beside the older one for a moment. */
  const byHost = (read: (worker: Worker) => number) => () =>
    [...Map.groupBy(parts.leases.workers(), ({ host }) => host)].map(([host, all]) => ({
      attributes: { "host.name": host },
      value: Math.max(...all.map(read)),
    }));
  registry.gauge(
    "aether.worker.slots",
    "{job}",
    "Jobs that a worker takes at once",
    byHost((worker) => worker.capacity.slots),
  );
  registry.gauge("aether.worker.running", "{job}", "Jobs that a worker holds", () => {
    const held = Map.groupBy(parts.index.held(), ({ incarnation }) => incarnation);
    return byHost(({ incarnation }) => held.get(incarnation)?.length ?? 0)();
  });
  return {
    stored(job, before) {
      if (before === null) submitted.add(1);
      if (job.state === before?.state) return;
      if (job.state === "starting" && job.queued_at && job.claimed_at)
        wait.record(secondsBetween(job.queued_at, job.claimed_at));
      if (job.state === "running") started.add(1);
      if (!isTerminal(job.state)) return;
      const attributes = { "aether.job.state": job.state };
      ended.add(1, attributes);
      if (job.runtime_ms !== null) runtime.record(job.runtime_ms / 1000, attributes);
    },
    logged(lineCount, byteCount) {
      lines.add(lineCount);
      bytes.add(byteCount);
    },
    refused: (quota) => refused.add(1, { "aether.quota": quota }),
  };
}

function secondsBetween(from: string, to: string): number {
  return Math.max(0, Date.parse(to) - Date.parse(from)) / 1000;
}
