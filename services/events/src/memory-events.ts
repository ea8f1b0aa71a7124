// The messages of memory → what happened to an entry. No event holds a word of what was kept, or forgetting would not be. A
// tombstone says when what it stands for was added: the entry's own message may be erased before it was read here.
import type { TailMessage } from "@aether/bus";
import { z } from "zod";
import type { Change, Happening } from "./source.ts";

const named = { id: z.string().regex(/^mem_[0-9a-z]{26}$/), owner: z.string(), supersedes: z.string().nullable() };
const facts = {
  kind: z.string(),
  trust: z.string(),
  created_at: z.string(),
  intent_id: z.string().nullable(),
  job_id: z.string().nullable(),
};
type Facts = z.infer<z.ZodObject<typeof facts>>;

/** The parts of the stored messages that events are made from. */
const MemoryRecord = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("entry"), ...named, ...facts }),
  z.looseObject({
    type: z.literal("forgotten"),
    ...named,
    forgotten_at: z.string(),
    forgotten_by: z.string(),
    entry: z.object({ ...facts, sequence: z.int() }),
  }),
]);

/** What a message of the stream says; null for what was erased. */
export function readMemoryChange(message: TailMessage): Change | null {
  if (!message.data) return null;
  const record = MemoryRecord.parse(JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(message.data)));
  const { id: key, owner, supersedes } = record;
  if (record.type === "entry") {
    return { key, owner, ...toLinks(record), happenings: [added(record, supersedes, message.sequence)], isOpen: false };
  }
  const { entry, forgotten_at: time, forgotten_by } = record;
  const forgotten = {
    revision: message.sequence,
    type: "dev.aether.memory.forgotten.v1",
    time,
    data: { forgotten_by },
  };
  return {
    key,
    owner,
    ...toLinks(entry),
    happenings: [added(entry, supersedes, entry.sequence), forgotten],
    isOpen: false,
  };
}

function added({ kind, trust, created_at: time }: Facts, supersedes: string | null, revision: number): Happening {
  return { revision, type: "dev.aether.memory.added.v1", time, data: { kind, trust, supersedes } };
}

function toLinks({ intent_id: intentId, job_id: jobId }: Facts) {
  return { intentId, jobId, traceparent: null };
}
