// From a request to the entry that is stored: where its words come from, what its source says now, how far it may be
// trusted, and whether it may be kept at all beside what is there already.
import { isUtf8 } from "node:buffer";
import {
  isPlainText,
  limits,
  MemoryText,
  type NewEntry,
  type Principal,
  ProblemError,
  principalName,
} from "@aether/contracts";
import type { z } from "zod";
import { sha256 } from "./citation.ts";
import { utc } from "./entry-view.ts";
import { locate, placeOfLines } from "./places.ts";
import { type Anchor, type StoredEntry, titleOf } from "./record.ts";
import type { Shelf } from "./shelves.ts";
import { fileUri, isReadable, type SourceReader, splitUri } from "./source.ts";
import { leastTrust, trustOf } from "./trust.ts";

type Asked = z.infer<typeof NewEntry>;
export interface Writer {
  id: string;
  principal: Principal;
  intentId: string | null;
  now: Date;
}

const quoteMaxBytes = 4_096;

/** The entry that was asked for, without what depends on the other entries. */
export async function draft(asked: Asked, writer: Writer, reader: SourceReader): Promise<StoredEntry> {
  const { principal, now } = writer;
  const { text, uri } = await readText(asked, principal, reader);
  const given = uri ?? asked.source;
  const trust = trustOf(principal.type, { source: given, derivedFrom: asked.derived_from, claim: asked.trust });
  return {
    ...{ type: "entry", id: writer.id, owner: principalName(principal), kind: asked.kind },
    ...{ title: asked.title ?? titleOf(text), text, author: asked.author ?? principalName(principal) },
    ...{ thread: asked.thread, labels: asked.labels },
    source: given === null ? null : await readSource(given, { text, kind: asked.kind, principal, reader }),
    created_by: { kind: principal.type, id: principal.id },
    created_at: now.toISOString(),
    ...{ intent_id: asked.intent_id ?? writer.intentId, job_id: asked.job_id, derived_from: asked.derived_from },
    ...{ supersedes: asked.supersedes, trust },
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
  principal: Principal,
  reader: SourceReader,
): Promise<{ text: string; uri: string | null }> {
  if (asked.text !== undefined) return { text: asked.text, uri: null };
  const uri = asked.path === undefined ? `artifact:${asked.artifact}` : fileUri(asked.path);
  const field = asked.path === undefined ? "artifact" : "path";
  const bytes = await reader.read(uri, principal);
  if (!bytes) throw refused(field, `must be a file of at most ${limits.memorySourceBytes} bytes that you can read`);
  if (Buffer.from(bytes.subarray(0, 5)).toString("latin1") === "%PDF-")
    throw refused(field, "PDF cannot be read yet; send its text");
  const text = isUtf8(bytes) ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) : null;
  if (text === null || !isPlainText(text)) throw refused(field, "must hold text in UTF-8");
  const checked = MemoryText.safeParse(text);
  if (!checked.success) throw refused(field, checked.error.issues[0]?.message ?? "is not valid");
  return { text, uri };
}

/** What the source is now; for a note also where in it the words are. */
async function readSource(
  given: string,
  about: { text: string; kind: Asked["kind"]; principal: Principal; reader: SourceReader },
): Promise<StoredEntry["source"]> {
  const { uri, lines } = splitUri(given);
  const isWhole = about.kind === "document" && lines === null;
  if (!isReadable(uri)) return { uri: given, sha256: null, anchor: null };
  // A document says that its text is the source: its own digest is what the source is held against.
  if (isWhole) return { uri, sha256: await sha256(Buffer.from(about.text)), anchor: null };
  const bytes = await about.reader.read(uri, about.principal);
  if (!bytes) throw refused("source", "must be a file that you can read");
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const words = about.text.trim();
  const found = lines || Buffer.byteLength(words) > quoteMaxBytes ? null : locate(source, words, 0);
  const anchor = lines ? anchorAt(source, lines) : found && { ...found, quote: words };
  if (lines && !anchor) throw refused("source", `has no such lines, or more than ${quoteMaxBytes} bytes in them`);
  return { uri, sha256: await sha256(bytes), anchor };
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
