// What jobs and workers ask of artifacts: what an input is, and the bytes of an attempt that goes in and out. The host is its
// subject's; that it holds the attempt, and whose that is, jobs is asked about each time a transfer begins.
import { type Bus, type Call, handler, request } from "@aether/bus";
import {
  checkAttempt,
  createId,
  describeArtifact,
  giveOutput,
  ProblemError,
  principalOf,
  takeInput,
} from "@aether/contracts";
import { type HandlerParts, toDownload } from "./handlers.ts";
import { mayRead } from "./reading.ts";
import { toPublic } from "./record.ts";

export function workerHandlers({ bus, store, uploads, transfers, requireSpace }: HandlerParts & { bus: Bus }) {
  return [
    handler(describeArtifact, {
      async handle({ id }) {
        const entry = await store.get(id);
        if (!entry) throw new ProblemError("not-found");
        const { owner, labels, sha256, size_bytes } = entry.value;
        return { owner, labels, sha256, size_bytes };
      },
    }),
    handler(takeInput, {
      async handle({ id, ...attempt }, call) {
        const held = await requireAttempt(bus, attempt, call);
        const entry = held.inputs.includes(id) ? await store.get(id) : null;
        if (!entry) throw new ProblemError("not-found", { detail: `there is no input ${id}` });
        // The owner's right to read it now: decided at submit is not decided for later.
        const about = { intentId: held.intent_id, jobId: attempt.job_id };
        if (!(await mayRead(bus, principalOf(held.owner), entry.value, about)))
          throw new ProblemError("not-found", { detail: `there is no input ${id}` });
        transfers.requireRoom(call);
        const transfer = transfers.open(call, toDownload(store, entry.value));
        return { transfer, artifact: toPublic(entry.value, entry.revision) };
      },
    }),
    handler(giveOutput, {
      async handle({ name, type, size_bytes: sizeBytes, ...attempt }, call) {
        const { owner, intent_id } = await requireAttempt(bus, attempt, call);
        await requireSpace();
        transfers.requireRoom(call);
        const id = call.createdId ?? createId("art");
        const draft = { id, name, type, owner, job_id: attempt.job_id, intent_id, labels: {} };
        const upload = await uploads.begin(draft, { sizeBytes, sha256: null });
        return { transfer: transfers.open(call, { upload, stored: null, end: upload.abort }) };
      },
    }),
  ] as const;
}

type Attempt = { job_id: string; attempt: number; secret: string };

async function requireAttempt(bus: Bus, attempt: Attempt, call: Call) {
  const { type, id: host } = call.principal;
  if (type !== "Worker") throw new ProblemError("policy-denied", { detail: "only a worker may call this" });
  return (await request(bus, checkAttempt, { ...attempt, host }, { envelope: { request_id: call.requestId } })).reply;
}
