// What is counted instead of written one by one: allowed status reads, and denials, or questions to people, equal to one that was
// written a moment ago.
// Every second the counts become records. While that write is not stored nothing more is counted: what cannot be recorded is
// refused. A process that dies loses at most the counts of its last second, which the next writer's `gap` record says.
import { type DecideRequest, limits, ProblemError, principalName } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";
import type { AppendOptions } from "./audit-writer.ts";
import { createDraft, type Draft, toActor } from "./record.ts";

const writeEveryMs = 1000;
/** A write that takes longer than this is a store that does not answer. */
const patienceMs = 250;
const kindsMax = 10_000;
const draftsAtOnce = 200;

/** A decision as it will stand in a record. */
export interface Decided {
  request: DecideRequest;
  via: string;
  decision: NonNullable<Draft["decision"]>;
}

interface Count {
  decided: Decided;
  count: number;
}

interface Denial extends Count {
  id: string;
  /** Settles when the first of them is stored. */
  stored: Promise<void>;
}

export interface Tally extends AsyncDisposable {
  /** Counts an allowed status read; throws `audit-unavailable` while the last counts are not stored. */
  countRead(decided: Decided): Promise<void>;
  /** Records a denial, or counts it with its equals of this second. Answers the id of the record that stands for it. */
  recordDenial(decided: Decided): Promise<string>;
  /** Writes what is counted now. */
  write(): Promise<void>;
}

/** Starts counting; `append` is the audit log's. */
export function startTally(
  append: (drafts: readonly Draft[], options?: AppendOptions) => Promise<void>,
  log: Logger,
): Tally {
  const reads = new Map<string, Count>();
  const denials = new Map<string, Denial>();
  const state = { writing: null as Promise<void> | null, since: 0, failed: false };

  const writeCounts = async () => {
    const counts = [...reads.values(), ...denials.values()].map((entry) => ({ entry, count: entry.count }));
    const counted = counts.filter(({ count }) => count > 0);
    try {
      for (let at = 0; at < counted.length; at += draftsAtOnce) {
        const some = counted.slice(at, at + draftsAtOnce);
        await append(
          some.map(({ entry }) => toCounted(entry)),
          { patient: true },
        );
        for (const { entry, count } of some) entry.count -= count;
      }
      const quiet = new Set<Count>(counts.filter(({ count }) => count === 0).map(({ entry }) => entry));
      for (const [key, { count }] of reads) if (count === 0) reads.delete(key);
      for (const [key, entry] of denials) if (quiet.has(entry) && entry.count === 0) denials.delete(key);
      state.failed = false;
    } catch (error) {
      if (!state.failed) log.error({ err: error }, "counted decisions could not be recorded; status reads are refused");
      state.failed = true;
    }
  };
  const write = () => {
    state.since ||= performance.now();
    state.writing ??= writeCounts().finally(() => {
      state.writing = null;
      state.since = 0;
    });
    return state.writing;
  };
  /** Waits for a write under way, so that nothing is added to counts that are being stored. */
  const admit = async () => {
    if (state.writing !== null) {
      const leftMs = patienceMs - (performance.now() - state.since);
      if (leftMs <= 0 || !(await settlesWithin(state.writing, leftMs))) throw refused();
    }
    if (state.failed || reads.size + denials.size > kindsMax) throw refused();
  };
  const timer = setInterval(() => void write(), writeEveryMs).unref();

  return {
    write,
    async countRead(decided) {
      await admit();
      const key = keyOf(decided);
      const known = reads.get(key);
      if (known) known.count++;
      else reads.set(key, { decided, count: 1 });
    },
    async recordDenial(decided) {
      await admit();
      const key = keyOf(decided);
      const known = denials.get(key);
      if (known) {
        known.count++;
        await known.stored;
        return known.id;
      }
      const draft = toDecision(decided);
      const stored = append([draft]);
      denials.set(key, { decided, id: draft.id, stored, count: 0 });
      await stored.catch((error: unknown) => {
        denials.delete(key);
        throw error;
      });
      return draft.id;
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await settlesWithin(write(), limits.decideDeadlineMs);
    },
  };
}

/** The record of one decision. */
export function toDecision({ request, via, decision }: Decided): Draft {
  return createDraft({
    kind: "decision",
    actor: toActor(request.principal, via),
    intent_id: request.intent_id,
    job_id: request.job_id,
    action: request.action,
    resource: { type: request.resource.type, id: request.resource.id },
    decision,
    provenance: { request_id: request.request_id, digest: request.digest, source: null },
  });
}

function toCounted(entry: Count | Denial): Draft {
  const { request, via, decision } = entry.decided;
  const denial = "id" in entry;
  return createDraft({
    kind: denial ? "denials" : "summary",
    actor: toActor(request.principal, via),
    action: request.action,
    resource: { type: request.resource.type, id: "*" },
    decision,
    note: denial ? `equal to ${entry.id}` : null,
    count: entry.count,
  });
}

function keyOf({ request, via, decision }: Decided): string {
  const { principal, action, resource } = request;
  const { outcome, approval, policies } = decision;
  return [via, principalName(principal), action, resource.type, outcome, approval, ...policies].join("\n");
}

function refused(): ProblemError {
  const detail = "what was counted before is not recorded yet";
  return new ProblemError("audit-unavailable", { detail, retry_after_ms: 1000 });
}

async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), ms);
  const settled = promise.then(() => true);
  return await Promise.race([settled, late.promise]).finally(() => clearTimeout(timer));
}
