// What people and agents ask of jobs: one small function per operation of the contract.
import { createHash } from "node:crypto";
import { type Bus, type Entry, handler, operationPreview } from "@aether/bus";
import {
  createId,
  type DecisionContext,
  getJob,
  isTerminal,
  type JobSpec,
  killJob,
  limits,
  listJobs,
  ProblemError,
  principalName,
  readLogs,
  requireBytes,
  requireDurationMs,
  stopJob,
  submitJob,
} from "@aether/contracts";
import { attachAgent } from "./agent-handlers.ts";
import type { Agents } from "./agents.ts";
import type { JobIndex } from "./index-view.ts";
import { resolveInputs } from "./inputs.ts";
import { accept, requestEnd, type StoredJob, toPublic } from "./job.ts";
import type { Leases } from "./leases.ts";
import type { JobLogs } from "./logs.ts";
import type { Store } from "./store.ts";
import type { Waiters } from "./waiters.ts";

export interface HandlerParts {
  bus: Bus;
  store: Store;
  agents: Agents;
  index: JobIndex;
  leases: Leases;
  logs: JobLogs;
  waiters: Waiters;
  clock: { now(): Date };
  /** Throws `storage-full` while the store is below its floor of free space. */
  requireSpace(): Promise<void>;
}

/** Woken when this instance has stored a batch of that log. */
export const logKey = (id: string) => `log:${id}`;

export function jobHandlers(parts: HandlerParts) {
  const { bus, store, agents, index, leases, logs, waiters, clock } = parts;

  const load = async ({ id }: { id: string }) => {
    const entry = await store.get(id);
    if (!entry) return null;
    const { owner, spec } = entry.value;
    const person = agents.personOf(owner);
    return { resource: { id, owner, labels: spec.labels, ...(person !== undefined && { person }) }, value: entry };
  };
  const jobId = ({ id }: { id: string }) => id;

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

  return [
    handler(submitJob, {
      context: decisionContext,
      digest: specDigest,
      preview: (spec) => operationPreview(submitJob, { ...spec, env: Object.keys(spec.env) }),
      jobId: (_request, call) => call.createdId,
      intentId: (spec) => spec.intent_id,
      async handle(spec, call) {
        await parts.requireSpace();
        const inputs = await resolveInputs(bus, spec, call);
        const filled = withDefaults(await attachAgent(parts, spec, call), leases);
        const job = accept(
          {
            id: call.createdId ?? createId("job"),
            owner: principalName(call.principal),
            spec: filled,
            digest: specDigest(filled),
            intentId: spec.intent_id ?? call.intentId,
            traceparent: call.traceparent,
            inputs,
            policyVersion: call.decision?.policy_version ?? null,
          },
          clock.now(),
        );
        const entry = await store.create(job);
        return toPublic(entry.value, entry.revision);
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

/** Facts about a spec that policies may look at. */
export function decisionContext(spec: JobSpec): DecisionContext {
  return {
    timeout_ms: requireDurationMs(spec.timeout),
    cpus_milli: Math.round((spec.resources.cpus ?? 0) * 1000),
    memory_bytes: requireBytes(spec.resources.memory ?? 0),
    disk_bytes: requireBytes(spec.resources.disk),
    pids: spec.resources.pids,
    pool: spec.pool,
    priority: spec.priority,
    network: spec.network.mode,
  };
}

/** SHA-256 of exactly what will run. */
function specDigest(spec: JobSpec): string {
  return `sha256:${createHash("sha256").update(JSON.stringify(spec)).digest("hex")}`;
}

/** Half of the largest worker of the pool where nothing was said; a modest size where no worker is known. */
function withDefaults(spec: JobSpec, leases: Leases): JobSpec {
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
  return { ...spec, resources: { ...spec.resources, cpus: cpus ?? halfCpus, memory: memory ?? halfMemory } };
}
