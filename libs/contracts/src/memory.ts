// The memory service: notes and documents kept word for word, with who wrote them and out of what; and the search that finds
// them again and says where each answer stands.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { ArtifactId, EntryId, IntentId, JobId } from "./ids.ts";
import { limits } from "./limits.ts";
import { Labels } from "./spec.ts";

export const MemoryKind = z.enum(["note", "document"]);
export type MemoryKind = z.infer<typeof MemoryKind>;

/** From the most trusted to the least. */
export const trustLevels = ["user", "agent", "tool", "untrusted"] as const;
export const Trust = z.enum(trustLevels);
export type Trust = z.infer<typeof Trust>;

/** Whether a text is one that a person could have written into a file: any control character beside white space is refused. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\x00-\x08\x0b\x0e-\x1f\x7f]/;
export const isPlainText = (text: string) => text.isWellFormed() && !control.test(text);

const bytesOf = (text: string) => new TextEncoder().encode(text).byteLength;
const line = (maxLength: number) =>
  z
    .string()
    .min(1)
    .max(maxLength)
    .refine((text) => isPlainText(text) && !/[\n\r\f]/.test(text), "must be one line of text");
const time = z.iso.datetime();
const owner = z.string().max(210).optional().describe("Whose memory, such as `user:1000`; your own where absent");
const label = z
  .array(z.string().regex(/^[^=]{1,63}=.*$/s, "must be k=v"))
  .max(8)
  .optional()
  .describe("Only with these labels, `k=v`");

export const MemoryText = z
  .string()
  .min(1)
  .refine(isPlainText, "must be text: no control characters, no half characters")
  .refine((text) => /\S/.test(text), "must not be blank")
  .refine(
    (text) => bytesOf(JSON.stringify(text)) <= limits.memoryTextBytes,
    `must be at most ${limits.memoryTextBytes} bytes`,
  );

/** What a text is from: a file or an artifact here, or any other place, with lines as `#L10-L14` where it is a part. */
const SourceUri = line(4200).refine(
  (uri) => /^(file:\/\/\/|artifact:|https?:\/\/|[a-z][a-z0-9+.-]{1,30}:)\S+$/.test(uri),
  "must be a URI such as file:///notes/a.md#L10-L14 or artifact:art_…",
);

const Origin = z.union([
  EntryId,
  z.string().regex(/^artifact:[\x21-\x7e]{1,200}$/, "must be an entry's id or artifact:…"),
]);

export const NewEntry = z
  .strictObject({
    kind: MemoryKind.describe(
      "`note`: a few sentences, kept whole. `document`: cut into passages at headings and paragraphs",
    ),
    title: line(200).nullable().default(null).describe("Absent: its first line"),
    text: MemoryText.optional().describe("The text, kept word for word"),
    path: z
      .string()
      .max(4096)
      .regex(/^\/[^\0]*$/, "must be an absolute path")
      .optional()
      .describe("Instead of `text`: a file on this host, read with the caller's rights"),
    artifact: ArtifactId.optional().describe("Instead of `text`: an artifact, read with the caller's rights"),
    source: SourceUri.nullable().default(null).describe("Where the text is from, or what it is about"),
    author: line(100).nullable().default(null).describe("Who said it; absent: the caller"),
    thread: line(200).nullable().default(null).describe("The conversation it is a turn of"),
    labels: Labels.default({}).describe("The owner's own, to search by"),
    intent_id: IntentId.nullable().default(null).describe("The intent it belongs to"),
    job_id: JobId.nullable().default(null).describe("The job it came out of; absent: the one that left the `artifact`"),
    derived_from: z.array(Origin).max(32).default([]).describe("What it was made of: entries and `artifact:…`"),
    trust: Trust.optional().describe("At most this; never raises what caller and lineage allow"),
    valid_from: time.nullable().default(null).describe("Since when it holds; absent: now"),
    expires_at: time.nullable().default(null).describe("When it is forgotten"),
    supersedes: EntryId.nullable().default(null).describe("The entry whose place it takes"),
  })
  .refine(({ text, path, artifact }) => [text, path, artifact].filter((from) => from !== undefined).length === 1, {
    path: ["text"],
    message: "one of text, path and artifact must be given",
  })
  .refine(({ text, source }) => text !== undefined || source === null, {
    path: ["source"],
    message: "is what is read: path or artifact say it already",
  });

export const MemoryEntry = z.object({
  id: EntryId,
  entry_id: EntryId,
  kind: MemoryKind,
  title: z.string(),
  owner: z.string(),
  author: z.string(),
  thread: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  source: z.string().nullable(),
  size_bytes: z.int(),
  lines: z.int(),
  trust: Trust,
  provenance: z.object({
    created_by: z.object({ kind: z.string(), id: z.string() }),
    created_at: time,
    intent_id: IntentId.nullable(),
    job_id: JobId.nullable(),
    derived_from: z.array(z.string()),
    supersedes: EntryId.nullable(),
  }),
  valid: z.object({ from: time, to: time.nullable() }),
  expires_at: time.nullable(),
  superseded_by: EntryId.nullable(),
  revision: z.int(),
});
export type MemoryEntry = z.infer<typeof MemoryEntry>;

export const Citation = z.object({
  uri: z.string().describe("Where the words stand; of a PDF with `#page=N`"),
  lines: z.tuple([z.int(), z.int()]).nullable().describe("First and last line, from 1; of a PDF, of its text"),
  bytes: z.tuple([z.int(), z.int()]).nullable().describe("From the first byte to the one behind the last"),
  sha256: z.string().describe("Of the whole source as it was when it was cited"),
  quote: z.string().nullable().describe("The words themselves"),
  state: z
    .enum(["fresh", "moved", "stale", "missing"])
    .describe(
      "Looked up now: unchanged, elsewhere in the changed source, gone from it, or no source that you can read",
    ),
  ref: z.string().describe("What an editor opens"),
});
export type Citation = z.infer<typeof Citation>;

export const MemoryHit = MemoryEntry.omit({ revision: true, entry_id: true, size_bytes: true, lines: true }).extend({
  snippet: z.string().describe("What was found, the words of the question in `<mark>`"),
  score: z.number(),
  explain: z.object({
    bm25: z.number().nullable(),
    bm25_rank: z.int().nullable(),
    vector_rank: z.int().nullable(),
    context: z.number().describe("From the passages beside it"),
    thread: z.number().describe("From its conversation or document"),
    author_boost: z.number(),
    date_boost: z.number(),
  }),
  citation: Citation,
});
export type MemoryHit = z.infer<typeof MemoryHit>;

const found = {
  kind: MemoryKind.optional(),
  author: z.string().max(100).optional(),
  thread: z.string().max(200).optional(),
  label,
  intent_id: IntentId.optional(),
  job_id: JobId.optional(),
  after: time.optional().describe("Only what holds since then or later"),
  before: time.optional().describe("Only what holds since before"),
  owner,
};

export const addEntry = defineOperation({
  name: "memory.add",
  kind: "unary",
  summary: "Keep a note or a document",
  http: { method: "POST", path: "/memory/entries", status: 201 },
  request: NewEntry,
  reply: MemoryEntry,
  problems: [
    "invalid-request",
    "not-found",
    "policy-denied",
    "conflict",
    "idempotency-conflict",
    "storage-full",
    "audit-unavailable",
  ],
  access: { action: "memory_write", resource: "MemoryEntry", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "with-key",
  creates: "mem",
  replay: "again",
  timeoutMs: limits.memoryAddMs,
});

export const getEntry = defineOperation({
  name: "memory.get",
  kind: "unary",
  summary: "Read an entry, or some lines of it",
  http: { method: "GET", path: "/memory/entries/{id}", status: 200 },
  request: z.strictObject({
    id: EntryId,
    lines: z
      .string()
      .regex(/^[1-9]\d{0,8}(-[1-9]\d{0,8})?$/, "must be a line, or two as in 10-14")
      .optional()
      .describe("Only these, such as `10-14`; absent: all"),
    context: z.int().min(0).max(1000).default(0).describe("So many lines more on either side"),
  }),
  reply: MemoryEntry.extend({ text: z.string(), citation: Citation }),
  problems: ["invalid-request", "not-found"],
  access: { action: "memory_read", resource: "MemoryEntry", owner: "record", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const listEntries = defineOperation({
  name: "memory.list",
  kind: "unary",
  summary: "List entries, newest first",
  http: { method: "GET", path: "/memory/entries", status: 200 },
  request: z.strictObject({
    ...found,
    superseded: z.boolean().default(false).describe("Also entries whose place was taken, and what has expired"),
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: EntryId.optional(),
  }),
  reply: z.object({ items: z.array(MemoryEntry), next_cursor: z.string().nullable() }),
  problems: ["invalid-request", "not-found"],
  access: { action: "memory_list", resource: "Memory", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const searchMemory = defineOperation({
  name: "memory.search",
  kind: "unary",
  summary: "Search notes and documents, the best first, each with where it stands",
  http: { method: "GET", path: "/memory/search", status: 200 },
  request: z.strictObject({
    q: z.string().min(1).max(limits.memoryQueryBytes).describe("What you want to know, in your own words"),
    k: z.int().min(1).max(limits.memoryHitsMax).default(10).describe("How many at most"),
    ...found,
    min_trust: Trust.optional().describe(
      "Nothing less trusted; absent: everything for a person, `tool` for anybody else",
    ),
  }),
  reply: z.object({
    query: z.string(),
    mode: z.enum(["lexical", "hybrid"]),
    took_ms: z.number(),
    understood: z
      .object({ author: z.string().nullable(), after: time.nullable(), before: time.nullable() })
      .describe("What the question names: who, and when; what fits goes first"),
    results: z.array(MemoryHit),
  }),
  problems: ["invalid-request", "not-found"],
  access: { action: "memory_search", resource: "Memory", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const forgetEntry = defineOperation({
  name: "memory.forget",
  kind: "unary",
  summary: "Forget an entry: its words are erased, that it was there stays",
  http: { method: "DELETE", path: "/memory/entries/{id}", status: 200 },
  request: z.strictObject({ id: EntryId }),
  reply: z.object({ id: EntryId, entry_id: EntryId, forgotten_at: time, forgotten_by: z.string() }),
  problems: ["invalid-request", "not-found", "policy-denied", "audit-unavailable"],
  access: { action: "memory_delete", resource: "MemoryEntry", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});
