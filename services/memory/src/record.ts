// The messages of the stream MEMORY, one subject per entry: the entry as it was accepted, and later perhaps that it was
// forgotten. An entry is never changed: what takes its place says so itself.
import { createHash } from "node:crypto";
import { EntryId, IntentId, JobId, type MemoryEntry, MemoryKind, Trust } from "@aether/contracts";
import { z } from "zod";

/** Where in its source a note's words were when it was written. */
const Anchor = z.object({
  lines: z.tuple([z.int(), z.int()]),
  bytes: z.tuple([z.int(), z.int()]),
  quote: z.string(),
});
export type Anchor = z.infer<typeof Anchor>;

export const StoredEntry = z.object({
  type: z.literal("entry"),
  id: EntryId,
  owner: z.string(),
  kind: MemoryKind,
  title: z.string(),
  text: z.string(),
  author: z.string(),
  thread: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  source: z
    .object({
      uri: z.string(),
      /** Of the whole source, null where it could not be read. */
      sha256: z.string().nullable(),
      /** Null where the text is the whole source, or where its words are not in it. */
      anchor: Anchor.nullable(),
      /** Where the text is that of a PDF: the first line of each page. */
      pages: z.array(z.int()).optional(),
    })
    .nullable(),
  created_by: z.object({ kind: z.string(), id: z.string() }),
  created_at: z.string(),
  intent_id: IntentId.nullable(),
  job_id: JobId.nullable(),
  derived_from: z.array(z.string()),
  supersedes: EntryId.nullable(),
  trust: Trust,
  valid_from: z.string(),
  expires_at: z.string().nullable(),
});
export type StoredEntry = z.infer<typeof StoredEntry>;
/** An entry without its words: what lists and hits need. */
export type EntryFacts = Omit<StoredEntry, "text" | "type"> & { sha256: string; size_bytes: number; lines: number };

/** What stays of an entry: nothing that it said. Whose place it took is kept, or that one would come back. */
export const Tombstone = z.object({
  type: z.literal("forgotten"),
  id: EntryId,
  owner: z.string(),
  supersedes: EntryId.nullable(),
  superseded_at: z.string(),
  forgotten_at: z.string(),
  forgotten_by: z.string(),
  /** What its event said when it was added, for whoever had not heard of it by then. */
  entry: z.object({
    sequence: z.int(),
    kind: MemoryKind,
    trust: Trust,
    created_at: z.string(),
    intent_id: IntentId.nullable(),
    job_id: JobId.nullable(),
  }),
});
export type Tombstone = z.infer<typeof Tombstone>;

export const StoredRecord = z.discriminatedUnion("type", [StoredEntry, Tombstone]);
export type StoredRecord = z.infer<typeof StoredRecord>;

export function parseRecord(data: Uint8Array): StoredRecord {
  return StoredRecord.parse(JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(data)));
}

export function toFacts({ text, type: _, ...facts }: StoredEntry): EntryFacts {
  const sha256 = createHash("sha256").update(text).digest("hex");
  return { ...facts, sha256, size_bytes: Buffer.byteLength(text), lines: text.replace(/\n$/, "").split("\n").length };
}

/** The entry as the contract answers it. */
export function toPublic(
  facts: EntryFacts,
  {
    revision,
    supersededBy,
    supersededAt,
  }: { revision: number; supersededBy: string | null; supersededAt: string | null },
): MemoryEntry {
  return {
    ...{ id: facts.id, entry_id: facts.id, kind: facts.kind, title: facts.title, owner: facts.owner },
    ...{ author: facts.author, thread: facts.thread, labels: facts.labels, source: facts.source?.uri ?? null },
    ...{ size_bytes: facts.size_bytes, lines: facts.lines, trust: facts.trust },
    provenance: {
      ...{
        created_by: facts.created_by,
        created_at: facts.created_at,
        intent_id: facts.intent_id,
        job_id: facts.job_id,
      },
      ...{ derived_from: facts.derived_from, supersedes: facts.supersedes },
    },
    valid: { from: facts.valid_from, to: supersededAt ?? facts.expires_at },
    expires_at: facts.expires_at,
    superseded_by: supersededBy,
    revision,
  };
}

/** Equal for texts that say the same: case, white space and the form of characters do not count; who and where do. */
export function sameness({
  kind,
  author,
  thread,
  text,
}: Pick<StoredEntry, "kind" | "author" | "thread" | "text">): string {
  const words = text.normalize("NFKC").toLowerCase().replaceAll(/\s+/g, " ").trim();
  return createHash("sha256")
    .update(JSON.stringify([kind, author, thread, words]))
    .digest("hex");
}

/** The first line of a text, short enough for a title. */
export function titleOf(text: string): string {
  const line =
    text
      .split("\n")
      .map((one) => one.replace(/^\uFEFF?[#>*\s-]+/, "").trim())
      .find((one) => one !== "") ?? "untitled";
  const characters = [...line];
  return characters.length > 80 ? `${characters.slice(0, 79).join("")}…` : line;
}
