// From a request to the entry that is stored: where its words come from, what its source says now, how far it may be
// trusted, and whether it may be kept at all beside what is there already.
import { isUtf8 } from "node:buffer";
import { isPlainText, MemoryText, type NewEntry, ProblemError, principalName } from "@aether/contracts";
import type { z } from "zod";
import { utc } from "./entry-view.ts";
import type { PdfReader } from "./pdf.ts";
import { locate, placeOfLines } from "./places.ts";
import { type Anchor, type StoredEntry, titleOf } from "./record.ts";
import type { Shelf } from "./shelves.ts";
import { type Asker, fileUri, isReadable, type SourceReader, sha256, splitUri } from "./source.ts";
import { leastTrust, trustOf } from "./trust.ts";

type Asked = z.infer<typeof NewEntry>;
export interface Readers {
  sources: SourceReader;
  pdf: PdfReader;
}
export interface Writer {
  id: string;
  asker: Asker;
  now: Date;
}

const quoteMaxBytes = 4_096;

/** The entry that was asked for, without what depends on the other entries. */
export async function draft(asked: Asked, writer: Writer, { sources: reader, pdf }: Readers): Promise<StoredEntry> {
  const { asker, now } = writer;
  const { principal } = asker;
  const { text, uri, jobId, source } = await readText(asked, asker, { sources: reader, pdf });
  const given = uri ?? asked.source;
  const job_id = asked.job_id ?? jobId;
  const made = uri?.startsWith("artifact:") ? [uri] : [];
  const derived_from = [...new Set([...asked.derived_from, ...made])];
  const lineage = { source: given, jobId: job_id, derivedFrom: derived_from };
  return {
    ...{ type: "entry", id: writer.id, owner: principalName(principal), kind: asked.kind },
    ...{ title: asked.title ?? titleOf(text), text, author: asked.author ?? principalName(principal) },
    ...{ thread: asked.thread, labels: asked.labels },
    source: source ?? (given === null ? null : await readSource(given, { text, kind: asked.kind, asker, reader })),
    created_by: { kind: principal.type, id: principal.id },
    created_at: now.toISOString(),
    ...{ intent_id: asked.intent_id ?? asker.intentId, job_id, derived_from },
    ...{ supersedes: asked.supersedes, trust: trustOf(principal.type, { ...lineage, claim: asked.trust }) },
    valid_from: asked.valid_from === null ? now.toISOString() : utc(asked.valid_from),
    expires_at: asked.expires_at === null ? null : utc(asked.expires_at),
  };
}

/** Holds a draft against what its owner keeps; throws ProblemError where it may not be kept. */
export function settle(entry: StoredEntry, { queries }: Shelf, now: Date): StoredEntry {
  const same = queries.same(entry, now.toISOString());
  if (same) throw new ProblemError("conflict", { detail: `${same} says the same` });
  const trusts = lineageOf(entry).map((id) => {
    const found = queries.get(id);
    // Somebody else's, a forgotten one and none at all look the same.
    if (!found) throw new ProblemError("not-found", { detail: `there is no entry ${id} here` });
    if (id === entry.supersedes && found.supersededBy) {
      throw new ProblemError("conflict", { detail: `${found.supersededBy} took its place already` });
    }
    return found.facts.trust;
  });
  return { ...entry, trust: leastTrust([entry.trust, ...trusts]) };
}

/** Every entry that this one is made of, however that is said. */
function lineageOf({ derived_from, supersedes, source }: StoredEntry): string[] {
  const cited = /^aether:memory\/(mem_[0-9a-z]{26})(#.*)?$/.exec(source?.uri ?? "")?.[1];
  const origins = [...derived_from.filter((id) => id.startsWith("mem_")), supersedes, cited];
  return origins.filter((id) => typeof id === "string");
}

async function readText(
  asked: Asked,
  asker: Asker,
  { sources, pdf }: Readers,
): Promise<{ text: string; uri: string | null; jobId: string | null; source: StoredEntry["source"] }> {
  if (asked.text !== undefined) return { text: asked.text, uri: null, jobId: null, source: null };
  const uri = asked.path === undefined ? `artifact:${asked.artifact}` : fileUri(asked.path);
  const field = asked.path === undefined ? "artifact" : "path";
  const { bytes, jobId, sha256: digest } = await requireSource(uri, field, asker, sources);
  const told = bytes.toString("latin1", 0, 5) === "%PDF-" ? await pdf.read(bytes, asker) : null;
  if (told && "refused" in told) throw refused(field, told.refused);
  const text = told ? told.text : isUtf8(bytes) ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) : null;
  if (text === null || !isPlainText(text)) throw refused(field, "must hold text in UTF-8");
  const checked = MemoryText.safeParse(text);
  if (!checked.success) throw refused(field, checked.error.issues[0]?.message ?? "is not valid");
  return { text, uri, jobId, source: told && { uri, sha256: digest, anchor: null, pages: told.pages } };
}

async function requireSource(uri: string, field: string, asker: Asker, reader: SourceReader) {
  const source = await reader.read(uri, asker);
  if ("refused" in source) throw refused(field, source.refused);
  const { bytes, ...facts } = source;
  if (bytes === null) throw new Error("a source came without its bytes");
  return { bytes, ...facts };
}

/** What the source is now; for a note also where in it the words are. */
async function readSource(
  given: string,
  about: { text: string; kind: Asked["kind"]; asker: Asker; reader: SourceReader },
): Promise<StoredEntry["source"]> {
  const { uri, lines } = splitUri(given);
  const isWhole = about.kind === "document" && lines === null;
  if (!isReadable(uri)) return { uri: given, sha256: null, anchor: null };
  // A document says that its text is the source: its own digest is what the source is held against.
  if (isWhole) return { uri, sha256: await sha256(Buffer.from(about.text)), anchor: null };
  const { bytes: source, sha256: digest } = await requireSource(uri, "source", about.asker, about.reader);
  const words = about.text.trim();
  const found = lines || Buffer.byteLength(words) > quoteMaxBytes ? null : locate(source, words, 0);
  const anchor = lines ? anchorAt(source, lines) : found && { ...found, quote: words };
  if (lines && !anchor) throw refused("source", `has no such lines, or more than ${quoteMaxBytes} bytes in them`);
  return { uri, sha256: digest, anchor };
}

/** The lines of a source as an anchor; null where it has no such lines, or their words are too many to be kept. */
function anchorAt(source: Buffer, [first, last]: [number, number]): Anchor | null {
  const place = placeOfLines(source, first, last);
  if (!place || place.lines[1] !== last) return null;
  const words = source.subarray(...place.bytes);
  const isKept = words.length > 0 && words.length <= quoteMaxBytes && isUtf8(words);
  return isKept ? { ...place, quote: words.toString("utf8") } : null;
}

function refused(path: string, message: string): ProblemError {
  return new ProblemError("invalid-request", { detail: `${path}: ${message}`, errors: [{ path, message }] });
}
