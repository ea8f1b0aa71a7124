// What workers ask of jobs: claim, renew, report, log. The worker's host is its subject's; everything else it says is held
// against the record: the incarnation, the attempt, the attempt's secret, and the table of transitions.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { type Bus, type Call, type Entry, handler } from "@aether/bus";
import {
  type AttemptEvent,
  appendLog,
  type Claim,
  checkAttempt,
  claimJobs,
  type DecideReply,
  limits,
  ProblemError,
  type Reply,
  renewWorker,
  reportAttempt,
} from "@aether/contracts";
import { type Agents, principalOfOwner } from "./agents.ts";
import type { Approvals } from "./approvals.ts";
import { settlePlace } from "./holder-check.ts";
import type { HolderBook } from "./holders.ts";
import type { Held, JobIndex } from "./index-view.ts";
import {
  type At,
  awaitApproval,
  claim,
  denyStart,
  finish,
  markUnkillable,
  refuse,
  run,
  type StoredJob,
  timeOut,
} from "./job.ts";
import type { Leases } from "./leases.ts";
import { isConsistent, type JobLogs } from "./logs.ts";
import { type Free, pick } from "./placement.ts";
import { loseAttempt } from "./reconciler.ts";
import { decideStart } from "./start.ts";
import type { Store } from "./store.ts";
import type { Waiters } from "./waiters.ts";

export interface WorkerHandlerParts {
  bus: Bus;
  store: Store;
  agents: Agents;
  holders: Pick<HolderBook, "start" | "repair">;
  index: JobIndex;
  leases: Leases;
  logs: JobLogs;
  approvals: Pick<Approvals, "recheck">;
  waiters: Waiters;
  clock: { now(): Date; monotonicMs(): number; random(): number };
  logMaxBytes: number;
  /** Told of every batch of log lines that was stored. */
  onLogged(lines: number, bytes: number): void;
}

/** Woken when something became claimable, or a worker has orders. */
export const queueKey = "queue";
export const orderKey = (incarnation: string) => `orders:${incarnation}`;

export function workerHandlers(parts: WorkerHandlerParts) {
  const { bus, store, agents, holders, index, leases, logs, waiters, clock } = parts;
  /** Jobs that a claim of this instance is deciding on right now. */
  const deciding = new Set<string>();
  /** By incarnation: when each of its jobs was first missing from its renewals. */
  const missed = new Map<string, Map<string, number>>();
  /** The claim that each incarnation waits with; a newer one, which offers more, takes its place. */
  const waitingClaims = new Map<string, AbortController>();

  async function claimOne(id: string, worker: string, incarnation: string): Promise<Claim | null> {
    const entry = await store.get(id);
    if (entry?.value.state !== "queued") return null;
    const { attach } = entry.value.spec;
    if (attach && !(await agents.get(attach.agent))) {
      await store.change(id, (job, at) => denyStart(job, `the agent ${attach.agent} was removed`, at), entry);
      return null;
    }
    const decision = await decideStart(parts, entry.value, "consume");
    if (decision.outcome !== "allow") {
      await keepFromStarting(entry, decision);
      return null;
    }
    if (!(await holders.start(entry.value))) {
      waiters.wake(queueKey); // who claims looks again: what is left has changed
      return null;
    }
    const secret = randomBytes(16).toString("hex");
    const secretHash = hashOf(secret);
    const by = { worker, incarnation, secretHash, policyVersion: decision.policy_version };
    const { attempt } = entry.value;
    const settle = () => settlePlace({ store, holders }, id, entry.value.owner);
    const claimed = await store
      .change(id, (job, at) => (job.attempt === attempt ? claim(job, by, at) : null), entry)
      .catch(async (error: unknown) => {
        await settle();
        throw error;
      });
    if (claimed?.value.secret_hash !== secretHash) {
      await settle();
      return null;
    }
    const { value: job } = claimed;
    // A marker may stand behind the end that the record knows, where a loss and an ending met.
    const lastSeq = job.released > 0 ? Math.max(job.logs.last_seq, await logs.lastSeq(id)) : 0;
    return {
      job_id: id,
      attempt: job.attempt,
      secret,
      owner: job.owner,
      intent_id: job.intent_id,
      traceparent: job.traceparent ?? null,
      spec: job.spec,
      inputs: job.inputs,
      log: { last_seq: lastSeq, bytes: job.logs.bytes, max_bytes: parts.logMaxBytes },
    };
  }

  /**
   * Policy does not let it start now: it is denied, or waits until a person has said yes. Where a person has taken a yes back,
   * nobody is asked a second time.
   */
  async function keepFromStarting(
    entry: Entry<StoredJob>,
    { outcome, approval_id, reason }: DecideReply,
  ): Promise<void> {
    const waits = outcome === "ask" && approval_id !== null ? { approvalId: approval_id, reason } : null;
    const now = waits ? await parts.approvals.recheck(entry) : entry;
    const apply = (job: StoredJob, at: At) => (waits ? awaitApproval(job, waits, at) : denyStart(job, reason, at));
    const changed = await store.change(entry.value.id, apply, now);
    if (changed && waits) await parts.approvals.recheck(changed);
  }

  async function claimSome(
    asked: { pools: string[]; free: Free; max: number },
    worker: string,
    incarnation: string,
  ): Promise<Claim[]> {
    const candidates = index.queued(asked.pools, asked.free, clock.now(), asked.max * 2 + deciding.size);
    const chosen = pick(
      candidates.filter(({ id }) => !deciding.has(id)),
      asked.free,
      asked.max,
      index.roomOf,
    );
    for (const { id } of chosen) deciding.add(id);
    try {
      const results = await Promise.allSettled(chosen.map(({ id }) => claimOne(id, worker, incarnation)));
      const claims = results.flatMap((result) => (result.status === "fulfilled" && result.value ? [result.value] : []));
      const failed = results.find((result) => result.status === "rejected");
      if (failed && claims.length === 0) throw failed.reason;
      return claims;
    } finally {
      for (const { id } of chosen) deciding.delete(id);
    }
  }

  return [
    handler(claimJobs, {
      async handle({ incarnation, pools, free, max, wait_ms }, call) {
        const worker = requireWorker(call);
        const deadline = clock.monotonicMs() + wait_ms;
        waitingClaims.get(incarnation)?.abort();
        const superseded = new AbortController();
        waitingClaims.set(incarnation, superseded);
        // What is asked before the connection breaks can never be answered: a job given to it would wait for nobody.
        const broken = new AbortController();
        using _ = bus.onReconnect(() => broken.abort());
        const over = AbortSignal.any([call.closing, superseded.signal, broken.signal]);
        for (;;) {
          if (over.aborted) return { claims: [] };
          if (await leases.isGone(incarnation))
            throw new ProblemError("conflict", { detail: "this incarnation is gone; start a new one" });
          const due = index.nextDue(pools, clock.now());
          const left = Math.min(
            deadline - clock.monotonicMs(),
            due ? Math.max(10, due.getTime() - clock.now().getTime()) : Number.POSITIVE_INFINITY,
          );
          const changed = waiters.wait(queueKey, Math.max(0, left), over);
          const claims = await claimSome({ pools, free, max }, worker, incarnation);
          if (claims.length > 0 || deadline - clock.monotonicMs() <= 0) return { claims };
          await changed;
        }
      },
    }),
    handler(renewWorker, {
      async handle({ incarnation, wait_ms, leaving, held, ...beat }, call) {
        const host = requireWorker(call);
        if (leaving && held.length === 0) {
          await leases.remove(incarnation);
          return { orders: [] };
        }
        const isNewest = await leases.renew({
          host,
          incarnation,
          beat: beat.beat,
          capacity: beat.capacity,
          pools: beat.pools,
          drivers: beat.drivers,
          degraded: beat.degraded,
        });
        const deadline = clock.monotonicMs() + wait_ms;
        // A renewal that an instance finds late, after a newer one, says nothing about what is held now.
        if (isNewest) await takeBackUnheld(incarnation, held);
        for (;;) {
          const left = deadline - clock.monotonicMs();
          const changed = waiters.wait(orderKey(incarnation), Math.max(0, left), call.closing);
          const orders = await ordersFor(incarnation, held);
          if (orders.length > 0 || left <= 0 || call.closing.aborted) return { orders };
          await changed;
        }
      },
    }),
    handler(reportAttempt, {
      async handle({ job_id, attempt, secret, incarnation, report }, call) {
        requireWorker(call);
        const entry = await requireAttempt(store, job_id, attempt, secret, incarnation);
        const apply = (job: StoredJob, at: At) =>
          job.attempt === attempt ? applyReport(job, report, clock.random(), at) : null;
        const changed = await store.change(entry.value.id, apply, entry);
        if (!changed) throw new ProblemError("not-found");
        if (report.event === "running" && (changed.value.attempt !== attempt || changed.value.state !== "running")) {
          throw new ProblemError("conflict", { detail: `the job is ${changed.value.state}: it must not be released` });
        }
        if (report.event === "expired")
          await loseAttempt({ store, logs, clock, log: call.log }, toHeld(changed), "lease_expired");
        return { state: changed.value.state };
      },
    }),
    handler(checkAttempt, {
      async handle({ job_id, attempt, secret, host }) {
        const { value: job } = (await store.get(job_id)) ?? {};
        if (!job) throw new ProblemError("not-found");
        const isKnown = job.secret_hash !== null && isSame(job.secret_hash, hashOf(secret));
        if (!isKnown || job.attempt !== attempt || job.worker !== host)
          throw new ProblemError("conflict", { detail: "this attempt is not yours any more" });
        const { owner, intent_id, secrets } = job;
        const principal = await principalOfOwner(agents, owner);
        return { owner, principal, intent_id, inputs: job.inputs.map(({ artifact }) => artifact), secrets };
      },
    }),
    handler(appendLog, {
      async handle({ job_id, attempt, secret, batch }, call) {
        requireWorker(call);
        if (batch.attempt !== attempt || !isConsistent(batch, call.bytes))
          throw new ProblemError("invalid-request", { detail: "the batch does not describe its bytes" });
        if (call.bytes.length > limits.chunkBytes) throw new ProblemError("too-large");
        const known = index.find(job_id);
        const current =
          known?.attempt === attempt && known.secretHash
            ? known.secretHash
            : ((await store.get(job_id))?.value ?? null);
        const expected =
          typeof current === "string" ? current : current?.attempt === attempt ? current.secret_hash : null;
        if (!expected || !isSame(expected, hashOf(secret)))
          throw new ProblemError("conflict", { detail: "this attempt is not yours any more" });
        const lastSeq = await logs.append(job_id, batch, call.bytes);
        parts.onLogged(batch.last_seq - batch.first_seq + 1, call.bytes.length);
        return { last_seq: lastSeq };
      },
    }),
  ] as const;

  /** What the incarnation is to end, and what it holds that is not its own any more. */
  async function ordersFor(
    incarnation: string,
    held: readonly { job_id: string; attempt: number; stopping: "stop" | "kill" | null }[],
  ) {
    const orders: Reply<typeof renewWorker>["orders"] = [];
    const mine = index.heldBy(incarnation);
    const unheld = mine.filter(
      (record) => record.state === "stopping" && !held.some((job) => job.job_id === record.id),
    );
    for (const job of [...held, ...unheld.map(({ id, attempt }) => ({ job_id: id, attempt, stopping: null }))]) {
      const record = mine.find((candidate) => candidate.id === job.job_id);
      if (record?.attempt === job.attempt && record.state !== "stopping") continue;
      const order = orderFor(await store.get(job.job_id), incarnation, job);
      if (order) orders.push(order);
    }
    return orders;
  }

  /**
   * A claim whose answer was lost is held by nobody: give it some time to arrive, then take it back. The time counts anew
   * when it begins to run, since a worker that reported so has it.
   */
  async function takeBackUnheld(incarnation: string, held: readonly { job_id: string; attempt: number }[]) {
    const now = clock.monotonicMs();
    const mine = index.heldBy(incarnation);
    const unheld = mine.filter(({ id, attempt }) => !held.some((job) => job.job_id === id && job.attempt === attempt));
    const before = missed.get(incarnation);
    const since = new Map(unheld.map((record) => [missKey(record), before?.get(missKey(record)) ?? now]));
    if (since.size > 0) missed.set(incarnation, since);
    else missed.delete(incarnation);
    for (const record of unheld) {
      if (now - (since.get(missKey(record)) ?? now) < limits.wardenDeadlineMs) continue;
      await loseAttempt({ store, logs, clock, log: bus.log }, record, "worker_lost", record.state);
    }
  }
}

function missKey({ id, attempt, state }: Held): string {
  return `${id}/${attempt}/${state}`;
}

function orderFor(
  current: Entry<StoredJob> | null,
  incarnation: string,
  held: { job_id: string; attempt: number; stopping: "stop" | "kill" | null },
) {
  const job = current?.value;
  const { job_id, attempt } = held;
  if (
    !job ||
    job.attempt !== attempt ||
    job.incarnation !== incarnation ||
    !["starting", "running", "stopping"].includes(job.state)
  ) {
    return { job_id, attempt, order: "drop" as const, grace_ms: 0 };
  }
  if (job.state !== "stopping" || !job.stopping) return null;
  const order = job.stopping.how === "kill" ? ("kill" as const) : ("stop" as const);
  return held.stopping === order || held.stopping === "kill"
    ? null
    : { job_id, attempt, order, grace_ms: job.stopping.grace_ms };
}

function applyReport(
  job: StoredJob,
  report: AttemptEvent,
  random: number,
  at: { now: Date; revision: number },
): StoredJob | null {
  switch (report.event) {
    case "running":
      return run(job, report, random, at);
    case "timeout":
      return timeOut(job, at);
    case "ended":
      return finish(job, report, random, at);
    case "refused":
      return refuse(job, report.reason, report.message, at);
    case "unkillable":
      return markUnkillable(job, report.message, at);
    case "expired":
      return null; // the log is closed first, then the attempt is lost
  }
}

/** The record of exactly this attempt; throws `conflict` when it is somebody else's by now. */
async function requireAttempt(
  store: Store,
  id: string,
  attempt: number,
  secret: string,
  incarnation: string,
): Promise<Entry<StoredJob>> {
  const entry = await store.get(id);
  if (!entry) throw new ProblemError("not-found");
  const { value: job } = entry;
  const known = job.secret_hash !== null && isSame(job.secret_hash, hashOf(secret));
  const ended = job.secret_hash === null && job.attempt === attempt && job.incarnation === incarnation;
  if (!ended && (job.attempt !== attempt || job.incarnation !== incarnation || !known)) {
    throw new ProblemError("conflict", { detail: "this attempt is not yours any more" });
  }
  return entry;
}

function requireWorker(call: Call): string {
  if (call.principal.type !== "Worker")
    throw new ProblemError("policy-denied", { detail: "only a worker may call this" });
  return call.principal.id;
}

function toHeld({ value: job, revision }: Entry<StoredJob>): Held {
  return {
    id: job.id,
    revision,
    state: job.state,
    incarnation: job.incarnation,
    attempt: job.attempt,
    secretHash: job.secret_hash,
    claimedAt: job.claimed_at,
  };
}

const hashOf = (secret: string) => createHash("sha256").update(secret).digest("hex");
const isSame = (a: string, b: string) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
