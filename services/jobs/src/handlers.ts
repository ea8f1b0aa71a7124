// What people and agents ask of jobs: one small function per operation of the contract.
import { createHash } from "node:crypto";
import { type Bus, type Entry, handler, operationPreview } from "@aether/bus";
import {
  createId,
  getJob,
  isTerminal,
  type JobSpec,
  killJob,
  limits,
  listJobs,
  ProblemError,
  principalName,
  type QuotaLimits,
  type QuotaName,
  readLogs,
  requireDurationMs,
  stopJob,
  submitJob,
} from "@aether/contracts";
import { attachAgent } from "./agent-handlers.ts";
import type { Agents } from "./agents.ts";
import type { Approvals } from "./approvals.ts";
import { settlePlace } from "./holder-check.ts";
import type { HolderBook } from "./holders.ts";
import type { JobIndex } from "./index-view.ts";
import { resolveInputs } from "./inputs.ts";
import { accept, holdBack, requestEnd, type StoredJob, toPublic } from "./job.ts";
import type { Leases } from "./leases.ts";
import type { JobLogs } from "./logs.ts";
import type { Quotas } from "./quotas.ts";
import { nameSecrets, resolveSecrets } from "./secrets.ts";
import { decideStart, decisionContext, startDigest } from "./start.ts";
import type { Store } from "./store.ts";
import type { Waiters } from "./waiters.ts";

export interface HandlerParts {
  bus: Bus;
  store: Store;
  agents: Agents;
  holders: Pick<HolderBook, "take" | "follow" | "repair">;
  quotas: Pick<Quotas, "limitsOf">;
  index: JobIndex;
  leases: Leases;
  logs: JobLogs;
  approvals: Pick<Approvals, "recheck">;
  waiters: Waiters;
  clock: { now(): Date };
  /** Throws `storage-full` while the store is below its floor of free space. */
  requireSpace(): Promise<void>;
  /** Told of the quota that refused something. */
  onRefused(quota: QuotaName): void;
}

/** Woken when this instance has stored a batch of that log. */
export const logKey = (id: string) => `log:${id}`;

export function jobHandlers(parts: HandlerParts) {
  const { bus, store, agents, index, leases, logs, approvals, waiters, clock } = parts;

  const load = async ({ id }: { id: string }) => {
    const entry = await store.get(id);
    if (!entry) return null;
    const { owner, spec } = entry.value;
    const person = agents.personOf(owner);
    return { resource: { id, owner, labels: spec.labels, ...(person !== undefined && { person }) }, value: entry };
  };
  const jobId = ({ id }: { id: string }) => id;

  /** What will not be allowed to start as it is: it is refused, or waits for a person's yes. */
  async function lookAhead(job: StoredJob): Promise<StoredJob> {
    const { outcome, approval_id, decision_id: id, reason, policies } = await decideStart(parts, job, "ask");
    if (outcome === "allow") return job;
    if (outcome === "ask" && approval_id) return holdBack(job, { approvalId: approval_id, reason });
    throw new ProblemError("policy-denied", { detail: reason, decision: { id, outcome, reason, policies } });
  }

  /** Whose jobs a person's list is of: their own, and those of the agents that work for them. */
  const withAgents = (person: string) => [
    person,
    ...agents.list(person, null, limits.agentsMax).map(({ value }) => `agent:${value.name}`),
  ];

  async function requestTheEnd(known: Entry<StoredJob>, how: "stop" | "kill", graceMs: number | null) {
    const entry = await store.change(known.value.id, (job, at) => requestEnd(job, how, graceMs, at), known);
    if (!entry) throw new ProblemError("not-found");
    return toPublic(entry.value, entry.revision);
  }

  /** The record as soon as the job has ended, or as it is when the time is up. */
  async function waitForEnd(entry: Entry<StoredJob>, waitMs: number, closing: AbortSignal): Promise<Entry<StoredJob>> {
    const deadline = performance.now() + waitMs;
    let current = entry;
    while (!isTerminal(current.value.state)) {
      const left = deadline - performance.now();
      if (left <= 0 || closing.aborted) break;
      const changed = waiters.wait(current.value.id, left, closing);
      current = (await store.get(current.value.id)) ?? current;
      if (!isTerminal(current.value.state)) await changed;
      current = (await store.get(current.value.id)) ?? current;
    }
    return current;
  }

  /**
   * Stores a job in a place that was taken for it before, and asks a person where policy wants that; a repeated submit finds
   * the job that is there.
   */
  async function keep(job: StoredJob, maySurelyStart: boolean): Promise<Entry<StoredJob>> {
    const refusal = await parts.holders.take(job);
    if (refusal) {
      const made = await store.get(job.id);
      if (made) return made;
      parts.onRefused(refusal.quota);
      throw new ProblemError("too-many-requests", { detail: `quota ${refusal.quota}: ${refusal.detail}` });
    }
    const giveBack = () => settlePlace(parts, job.id, job.owner);
    const checked = maySurelyStart
      ? job
      : await lookAhead(job).catch(async (error: unknown) => {
          await giveBack();
          throw error;
        });
    const entry = await store.create(checked).catch(async (error: unknown) => {
      // With any other failure the job may be there all the same: then its place is, too, or goes with time.
      if (error instanceof ProblemError && error.slug === "storage-full") await giveBack();
      throw error;
    });
    if (entry.value !== checked) parts.holders.follow(entry.value);
    return entry;
  }

  return [
    handler(submitJob, {
      context: (spec, by) => decisionContext(nameSecrets(spec, by)),
      ahead(spec, by) {
        if (spec.attach) return undefined; // its limits are the agent's, which are not read yet
        const filled = withDefaults(nameSecrets(spec, by), leases, parts.quotas.limitsOf(principalName(by)));
        const context = { ...decisionContext(filled), attempt: 1 };
        return { action: "start_job", context, labels: spec.labels };
      },
      digest: specDigest,
      preview: (spec) => operationPreview(submitJob, { ...spec, env: Object.keys(spec.env) }),
      jobId: (_request, call) => call.createdId,
      intentId: (spec) => spec.intent_id,
      async handle(spec, call) {
        await parts.requireSpace();
        const inputs = await resolveInputs(bus, spec, call);
        const owner = principalName(call.principal);
        const named = nameSecrets(await attachAgent(parts, spec, call), call.principal);
        const filled = withDefaults(named, leases, parts.quotas.limitsOf(owner));
        const secrets = await resolveSecrets(bus, filled, call);
        const job = accept(
          {
            id: call.createdId ?? createId("job"),
            owner,
            submitterUid: call.principal.uid ?? null,
            spec: filled,
            digest: startDigest(filled, { inputs, secrets }),
            intentId: spec.intent_id ?? call.intentId,
            traceparent: call.traceparent,
            inputs,
            secrets,
            policyVersion: call.decision?.policy_version ?? null,
          },
          clock.now(),
        );
        const { value, revision } = await approvals.recheck(await keep(job, call.decision?.ahead ?? false));
        return toPublic(value, revision);
      },
    }),
    handler(getJob, {
      load,
      jobId,
      async handle({ wait }, call) {
        const entry = wait ? await waitForEnd(call.loaded, requireDurationMs(wait), call.closing) : call.loaded;
        return toPublic(entry.value, entry.revision);
      },
    }),
    handler(listJobs, {
      async handle(request, call) {
        if (request.min_revision && !(await index.view.reach(request.min_revision, 5_000))) {
          throw new ProblemError("unavailable", {
            detail: "the list has not seen that revision yet",
            retry_after_ms: 1000,
          });
        }
        const filter = {
          states: request.state ?? [],
          labels: request.label ?? [],
          intentId: request.intent_id ?? null,
          pool: request.pool ?? null,
          before: request.cursor ?? null,
          limit: request.limit + 1,
        };
        const owners = call.decision?.scope === "all" ? [null] : withAgents(principalName(call.principal));
        const found = owners
          .flatMap((owner) => index.list({ ...filter, owner }))
          .sort((a, b) => (a.value.id < b.value.id ? 1 : -1));
        const items = found.slice(0, request.limit).map((entry) => toPublic(entry.value, entry.revision));
        return { items, next_cursor: found.length > request.limit ? (items.at(-1)?.id ?? null) : null };
      },
    }),
    handler(readLogs, {
      load,
      jobId,
      async handle(request, call) {
        const from = {
          after: request.after,
          tail: request.tail ?? null,
          sinceMs: request.since_ms ?? null,
          position: request.position ?? null,
        };
        const first = await logs.read(call.loaded.value, from);
        if (first.page.batches.length > 0 || first.page.eof || request.wait_ms === 0)
          return { reply: first.page, bytes: first.bytes };
        const next = { ...from, after: first.page.after, tail: null, position: first.page.position };
        const page = await nextPage(request.id, next, request.wait_ms, call.closing);
        return { reply: page.page, bytes: page.bytes };
      },
    }),
    handler(stopJob, {
      load,
      jobId,
      handle: ({ grace }, call) =>
        requestTheEnd(call.loaded, "stop", grace === undefined ? null : requireDurationMs(grace)),
    }),
    handler(killJob, { load, jobId, handle: (_request, call) => requestTheEnd(call.loaded, "kill", null) }),
  ] as const;

  /** Waits for something to read, or for the job's end. The waits begin before the look, so nothing falls in between. */
  async function nextPage(id: string, from: Parameters<JobLogs["read"]>[1], waitMs: number, closing: AbortSignal) {
    const deadline = performance.now() + waitMs;
    for (let settle = 0; ; ) {
      const left = Math.max(0, deadline - performance.now());
      const over = new AbortController();
      const signal = AbortSignal.any([closing, over.signal]);
      const published = logs.wait(id, left, signal).then(() => "published" as const);
      const changed = Promise.race([waiters.wait(id, left, signal), waiters.wait(logKey(id), left, signal)]);
      const entry = await store.get(id);
      if (!entry) throw new ProblemError("not-found");
      const page = await logs.read(entry.value, from);
      const found = page.page.batches.length > 0 || page.page.eof !== null || left === 0 || closing.aborted;
      const woken = found
        ? null
        : await (settle > 0 ? settled(settle) : Promise.race([published, changed.then(() => "changed" as const)]));
      over.abort();
      if (found) return page;
      // A publish is heard a moment before it can be read: look again soon, a few times.
      settle = woken === "published" || settle > 0 ? (settle + 1) % 6 : 0;
    }
  }
}

function settled(step: number): Promise<null> {
  return new Promise((resolve) => setTimeout(resolve, step, null));
}

/** SHA-256 of what was asked for. */
function specDigest(spec: JobSpec): string {
  return `sha256:${createHash("sha256").update(JSON.stringify(spec)).digest("hex")}`;
}

/**
 * Half of the largest worker of the pool where nothing was said, and no more than the owner's quota; a modest size where no
 * worker is known.
 */
function withDefaults(spec: JobSpec, leases: Leases, quota: QuotaLimits): JobSpec {
  const { cpus, memory } = spec.resources;
  if (cpus !== undefined && memory !== undefined) return spec;
  const capacities = leases
    .workers()
    .filter((worker) => worker.pools.includes(spec.pool))
    .map((worker) => worker.capacity);
  const most = (pick: (capacity: { cpus: number; memory_bytes: number }) => number) =>
    Math.max(0, ...capacities.map(pick));
  const halfCpus = most((capacity) => capacity.cpus) / 2 || limits.cpusUnknownWorker;
  const halfMemory = Math.floor(most((capacity) => capacity.memory_bytes) / 2) || limits.memoryUnknownWorkerBytes;
  const own = {
    cpus: Math.max(limits.cpusMin, Math.min(halfCpus, quota.cpus ?? halfCpus)),
    memory: Math.max(limits.memoryMinBytes, Math.min(halfMemory, quota.memory_bytes ?? halfMemory)),
  };
  return { ...spec, resources: { ...spec.resources, cpus: cpus ?? own.cpus, memory: memory ?? own.memory } };
}
