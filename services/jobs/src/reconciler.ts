// The loop that moves what nobody else will: queue timeouts, jobs whose worker is gone, answers that nobody heard, what is kept
// too long. Every step is one compare-and-set that does nothing when it has been made already, so any number of instances may
// run it at once and it may stop anywhere.
import { type JobState, limits } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";
import type { Approvals } from "./approvals.ts";
import type { Held, JobIndex } from "./index-view.ts";
import { expire, lose, type StoredJob } from "./job.ts";
import type { Leases } from "./leases.ts";
import type { JobLogs } from "./logs.ts";
import type { Store } from "./store.ts";

const batch = 200;

export interface Reconciler extends AsyncDisposable {
  /** Looks once, now. */
  look(): Promise<void>;
}

export interface ReconcilerParts {
  store: Store;
  index: JobIndex;
  leases: Leases;
  logs: JobLogs;
  approvals: Pick<Approvals, "look">;
  clock: { now(): Date; random(): number };
  log: Logger;
}

export function startReconciler(parts: ReconcilerParts, everyMs: number): Reconciler {
  let running: Promise<void> = Promise.resolve();
  let looks = 0;
  const look = () => {
    running = running
      .then(() => lookOnce(parts, looks++ % 60 === 0))
      .catch((error: unknown) => parts.log.warn({ err: error }, "reconciling failed, the next look tries again"));
    return running;
  };
  const timer = setInterval(look, everyMs);
  return {
    look,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await running;
    },
  };
}

async function lookOnce(parts: ReconcilerParts, thorough: boolean): Promise<void> {
  const now = parts.clock.now();
  for (const id of parts.index.queueTimeouts(now, batch)) await parts.store.change(id, expire);
  for (const incarnation of parts.leases.silent()) {
    if (await parts.leases.removeSilent(incarnation))
      parts.log.warn({ incarnation }, "worker is silent for too long: gone");
  }
  for (const held of parts.index.held()) {
    if (held.incarnation && (await parts.leases.isGone(held.incarnation)))
      await loseAttempt(parts, held, "worker_lost");
  }
  if (!thorough) return;
  await parts.approvals.look();
  await forget(parts, now);
}

/**
 * Ends an attempt that nobody runs any more; first its log is closed, so that nothing late fits. With `only` it is ended in
 * that state and in no later one.
 */
export async function loseAttempt(
  parts: Pick<ReconcilerParts, "store" | "logs" | "clock" | "log">,
  held: Held,
  reason: "worker_lost" | "lease_expired",
  only: JobState | null = null,
): Promise<void> {
  const isMeant = (job: StoredJob) =>
    job.attempt === held.attempt && job.incarnation === held.incarnation && (only === null || job.state === only);
  const current = await parts.store.get(held.id);
  if (!current || !isMeant(current.value)) return;
  const hadOutput = current.value.state === "running" || current.value.state === "stopping";
  const logs = hadOutput ? await parts.logs.fence(held.id, held.attempt, current.value.logs) : null;
  const { random } = parts.clock;
  const changed = await parts.store.change(held.id, (job, at) =>
    isMeant(job) && (hadOutput || job.state === "starting") ? lose(job, reason, logs, random(), at) : null,
  );
  if (changed?.changed)
    parts.log.warn({ job_id: held.id, attempt: held.attempt, reason, state: changed.value.state }, "attempt lost");
}

async function forget(parts: ReconcilerParts, now: Date): Promise<void> {
  const old = parts.index.endedBefore(new Date(now.getTime() - limits.jobsKeepMs), batch);
  for (const { id, revision } of [...old, ...parts.index.beyondCount(limits.jobsKeepCount, batch)]) {
    await parts.store
      .remove(id, revision)
      .catch((error: unknown) => parts.log.warn({ err: error, job_id: id }, "could not forget a job"));
  }
}
