// Scripted services on a real bus: what they were asked is kept, and a log grows when a test says so.
import { type Bus, type Call, handler, serve } from "@aether/bus";
import {
  checkPolicy,
  createId,
  type DecideReply,
  examples,
  getJob,
  healthOperation,
  isTerminal,
  Job,
  JobSpec,
  type JobState,
  killJob,
  type LogBatch,
  type LogPage,
  listJobs,
  ProblemError,
  type Request,
  readEvents,
  readLogs,
  readRates,
  stopJob,
  submitJob,
} from "@aether/contracts";

const allow: DecideReply = {
  outcome: "allow",
  decision_id: null,
  reason: "the script allows it",
  policies: [],
  policy_version: "test",
  approval_id: null,
  visible: true,
  scope: "all",
};

/** What the scripted jobs service holds; shared by its incarnations. */
export interface Script {
  readonly jobs: Map<string, Job>;
  readonly calls: Pick<Call, "principal" | "requestId" | "intentId" | "traceparent">[];
  /** The only log there is. */
  readonly log: { batches: LogBatch[]; bytes: Uint8Array[] };
  pages: number;
  /** Events as they are answered, by their sequence from 1. */
  readonly events: string[];
  /** Rates that were set, with how often they were. */
  rates: { revision: number; rates: Record<string, number> };
  /** Called whenever something changed. */
  changed(): void;
  /** Resolves at the next change, or after the time. */
  nextChange(timeoutMs: number): Promise<void>;
}

export function createScript(): Script {
  let waiting: (() => void)[] = [];
  return {
    jobs: new Map(),
    calls: [],
    log: { batches: [], bytes: [] },
    pages: 0,
    events: [],
    rates: { revision: 0, rates: {} },
    changed() {
      for (const resolve of waiting.splice(0)) resolve();
    },
    nextChange(timeoutMs) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, timeoutMs);
      waiting.push(resolve);
      return promise.finally(() => {
        clearTimeout(timer);
        waiting = waiting.filter((other) => other !== resolve);
      });
    },
  };
}

/** Puts a job into the script. */
export function addJob(script: Script, state: JobState = "running"): Job {
  const id = createId("job");
  const spec = JobSpec.parse({ command: ["true"] });
  const job: Job = { ...Job.parse(examples["jobs.stop"]?.reply), id, job_id: id, spec, state };
  script.jobs.set(id, job);
  return job;
}

export function setState(script: Script, id: string, state: JobState, exitCode: number | null = null): void {
  const job = script.jobs.get(id);
  if (!job) throw new Error(`no job ${id}`);
  const lastSeq = script.log.batches.at(-1)?.last_seq ?? 0;
  script.jobs.set(id, { ...job, state, exit_code: exitCode, logs: { ...job.logs, last_seq: lastSeq } });
  script.changed();
}

/** Appends lines of stdout as one batch. */
export function appendLines(script: Script, lines: readonly string[]): void {
  const first = (script.log.batches.at(-1)?.last_seq ?? 0) + 1;
  const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
  const segments = [{ t: Date.now(), s: 1 as const, n: lines.length, b: bytes.length }];
  script.log.batches.push({ attempt: 1, first_seq: first, last_seq: first + lines.length - 1, segments });
  script.log.bytes.push(bytes);
  script.changed();
}

/** Serves the jobs service's operations from the script. */
export function serveJobs(bus: Bus, script: Script): Promise<AsyncDisposable> {
  const requireJob = (id: string): Job => {
    const job = script.jobs.get(id);
    if (!job) throw new ProblemError("not-found");
    return job;
  };
  const load = async ({ id }: { id: string }) => {
    const job = script.jobs.get(id);
    return job ? { resource: { id, owner: job.owner, labels: {} }, value: job } : null;
  };
  const end = (id: string) => {
    if (!isTerminal(requireJob(id).state)) setState(script, id, "stopping");
    return requireJob(id);
  };
  const wait = async (timeoutMs: number, closing: AbortSignal) => {
    const closed = new Promise<void>((resolve) => closing.addEventListener("abort", () => resolve(), { once: true }));
    await Promise.race([script.nextChange(timeoutMs), closed]);
  };
  return serve(bus, {
    service: "jobs",
    version: "1.2.3",
    description: "scripted",
    decide: async () => allow,
    handlers: [
      handler(submitJob, {
        async handle(spec, { principal, requestId, intentId, traceparent }) {
          script.calls.push({ principal, requestId, intentId, traceparent });
          const job = addJob(script, "queued");
          script.jobs.set(job.id, { ...job, spec });
          return requireJob(job.id);
        },
      }),
      handler(getJob, {
        load,
        async handle(request, { closing }) {
          if (request.wait !== undefined && !isTerminal(requireJob(request.id).state)) await wait(10_000, closing);
          return requireJob(request.id);
        },
      }),
      handler(listJobs, {
        async handle({ state, limit }) {
          const all = [...script.jobs.values()].filter((job) => !state || state.includes(job.state));
          return { items: all.slice(0, limit), next_cursor: null };
        },
      }),
      handler(stopJob, { load, handle: async ({ id }) => end(id) }),
      handler(killJob, { load, handle: async ({ id }) => end(id) }),
      handler(readLogs, {
        load,
        async handle(request, { closing }) {
          script.pages++;
          let found = readPage(script, requireJob(request.id), request);
          if (found.reply.batches.length === 0 && !found.reply.eof && request.wait_ms > 0) {
            await wait(request.wait_ms, closing);
            found = readPage(script, requireJob(request.id), request);
          }
          return found;
        },
      }),
      handler(readRates, {
        async handle({ known, wait_ms }, { closing }) {
          if (script.rates.revision <= known) await wait(wait_ms, closing);
          return script.rates;
        },
      }),
      handler(healthOperation("jobs"), { handle: async () => ({ version: "1.2.3", degraded: [] }) }),
    ],
  });
}

/** One batch per page; `position` counts batches. */
function readPage(
  script: Script,
  job: Job,
  { after, position = 0, tail }: { after: number; position?: number | undefined; tail?: number | undefined },
): { reply: LogPage; bytes: Uint8Array } {
  const last = script.log.batches.at(-1)?.last_seq ?? 0;
  const from = tail === undefined ? after : Math.max(after, last - tail);
  const at = script.log.batches.findIndex((batch, i) => i >= position && batch.last_seq > from);
  const batch = script.log.batches[at];
  const bytes = script.log.bytes[at] ?? new Uint8Array(0);
  const ended = isTerminal(job.state) && (batch?.last_seq ?? last) === last;
  const eof = ended
    ? { last_seq: last, state: job.state, reason: job.reason, exit_code: job.exit_code, signal: job.signal }
    : null;
  if (!batch) return { reply: { batches: [], after: from, position, eof }, bytes };
  // As the real one does: what is not after `from` is left for the reader to skip.
  return {
    reply: { batches: [{ ...batch, bytes: bytes.length }], after: batch.last_seq, position: at + 1, eof },
    bytes,
  };
}

/** Serves a service that is there and is asked nothing else. */
export function serveHealth(bus: Bus, service: string): Promise<AsyncDisposable> {
  const health = handler(healthOperation(service), { handle: async () => ({ version: "1.2.3", degraded: [] }) });
  return serve(bus, {
    service,
    version: "1.2.3",
    description: "scripted",
    decide: async () => allow,
    handlers: [health],
  });
}

/** Serves events from the script; those of another type than asked for are passed over. */
export function serveEvents(bus: Bus, script: Script): Promise<AsyncDisposable> {
  const find = ({ after, type, limit }: Request<typeof readEvents>) => {
    const found = script.events.map((text, index) => ({ text, sequence: index + 1 }));
    const wanted = found.filter(
      ({ text, sequence }) => sequence > after && (!type || type.includes(JSON.parse(text).type)),
    );
    const page = wanted.slice(0, Math.min(limit, 3));
    const until = script.events.length;
    const reply = {
      sequences: page.map(({ sequence }) => sequence),
      after: page.length < wanted.length ? (page.at(-1)?.sequence ?? after) : until,
      until,
    };
    return { reply, bytes: Buffer.from(page.map(({ text }) => `${text}\n`).join("")) };
  };
  return serve(bus, {
    service: "events",
    version: "1.2.3",
    description: "scripted",
    decide: async () => allow,
    handlers: [
      handler(readEvents, {
        async handle(request, { closing }) {
          script.pages++;
          const found = find(request);
          if (found.reply.sequences.length > 0 || request.wait_ms === 0) return found;
          const closed = new Promise<void>((resolve) =>
            closing.addEventListener("abort", () => resolve(), { once: true }),
          );
          await Promise.race([script.nextChange(request.wait_ms), closed]);
          return find(request);
        },
      }),
      handler(healthOperation("events"), { handle: async () => ({ version: "1.2.3", degraded: [] }) }),
    ],
  });
}

/** Adds an event to the script. */
export function addEvent(script: Script, type = "com.example.test"): void {
  const sequence = String(script.events.length + 1).padStart(12, "0");
  script.events.push(JSON.stringify({ specversion: "1.0", id: sequence, source: "/user/0", type, sequence }));
  script.changed();
}

/** Serves just enough of policy to be asked. */
export function servePolicy(bus: Bus, degraded: string[] = []): Promise<AsyncDisposable> {
  return serve(bus, {
    service: "policy",
    version: "1.2.3",
    description: "scripted",
    decide: async () => allow,
    handlers: [
      handler(healthOperation("policy"), { handle: async () => ({ version: "1.2.3", degraded }) }),
      handler(checkPolicy, {
        handle: async () => ({
          decision: "allow",
          reason: "the script allows it",
          policies: [],
          policy_version: "test",
        }),
      }),
    ],
  });
}
