// What jobs and workers ask of secrets: what one is, and its value for the attempt that needs it. The host is its subject's;
// that it holds the attempt, whose that is and which secrets it was promised, jobs is asked about each time.
import { type Bus, type Call, type Entry, handler, request } from "@aether/bus";
import {
  checkAttempt,
  createId,
  decide,
  describeSecret,
  ProblemError,
  partsOfSecretId,
  type Reply,
  takeSecret,
} from "@aether/contracts";
import type { HandlerParts } from "./handlers.ts";
import { idOf, type StoredSecret } from "./record.ts";
import { KeyMissing, open, SealBroken } from "./seal.ts";
import type { Store } from "./store.ts";

const usedEveryMs = 60_000;

type Held = Reply<typeof checkAttempt>;

export function workerHandlers({ bus, store, keys, onTaken }: HandlerParts & { bus: Bus; onTaken(): void }) {
  return [
    handler(describeSecret, {
      async handle({ id }) {
        const entry = await store.get(partsOfSecretId(id));
        if (!entry) throw new ProblemError("not-found");
        const { owner, labels, value_id } = entry.value;
        return { owner, labels, value_id };
      },
    }),
    handler(takeSecret, {
      async handle({ id, ...attempt }, call) {
        const held = await requireAttempt(bus, attempt, call);
        const promised = held.secrets.find((secret) => secret.id === id);
        const entry = promised ? await store.get(partsOfSecretId(id)) : null;
        if (!promised || !entry) throw notFound();
        if (entry.value.value_id !== promised.value_id)
          throw notFound("it has been set anew since the job was submitted");
        // The owner's right to use it now: decided at submit is not decided for later.
        if (!(await mayUse(bus, held, entry.value, attempt.job_id))) throw notFound();
        const bytes = openOrRefuse(() => open(keys, entry.value, entry.value.sealed));
        await markUsed(store, entry, call);
        onTaken();
        return { reply: {}, bytes };
      },
    }),
  ] as const;
}

type Attempt = { job_id: string; attempt: number; secret: string };

async function requireAttempt(bus: Bus, attempt: Attempt, call: Call): Promise<Held> {
  const { type, id: host } = call.principal;
  if (type !== "Worker") throw new ProblemError("policy-denied", { detail: "only a worker may call this" });
  return (await request(bus, checkAttempt, { ...attempt, host }, { envelope: { request_id: call.requestId } })).reply;
}

/** Whether the job's owner may use it now; the audit log names him. */
async function mayUse(bus: Bus, { principal, intent_id }: Held, secret: StoredSecret, jobId: string): Promise<boolean> {
  const { reply } = await request(
    bus,
    decide,
    {
      ...{ principal, action: "use_secret" },
      resource: { type: "Secret", id: idOf(secret), owner: secret.owner, labels: secret.labels },
      ...{ context: {}, record: "before", request_id: createId("req"), intent_id, job_id: jobId, digest: null },
    },
    { envelope: { request_id: createId("req") } },
  );
  return reply.outcome === "allow";
}

function openOrRefuse(opened: () => Buffer): Buffer {
  try {
    return opened();
  } catch (error) {
    if (error instanceof KeyMissing || error instanceof SealBroken) throw notFound(error.message, error);
    throw error;
  }
}

function notFound(detail = "there is no such secret", cause?: unknown): ProblemError {
  return new ProblemError("not-found", { detail }, { cause });
}

/** To the minute, and only where nobody else writes: when it was used is also in the audit log, exactly. */
async function markUsed(store: Store, entry: Entry<StoredSecret>, { log }: Call): Promise<void> {
  const now = Date.now();
  const { last_used_at: last } = entry.value;
  if (last !== null && now - Date.parse(last) < usedEveryMs) return;
  try {
    await store.put({ ...entry.value, last_used_at: new Date(now).toISOString() }, entry);
  } catch (error) {
    if (!(error instanceof ProblemError)) log.warn({ err: error }, "when a secret was last used is not noted");
  }
}
