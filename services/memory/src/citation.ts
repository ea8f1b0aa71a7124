// Where an answer's words stand, looked up now: its source is read again, with the rights of who asks. Equal bytes are fresh;
// in changed ones the words are looked for, nearest to where they were.
import type { Citation, Principal } from "@aether/contracts";
import { locate } from "./places.ts";
import type { Anchor, EntryFacts } from "./record.ts";
import { isReadable, placeOf, type SourceReader } from "./source.ts";

/** A passage of an entry that is to be cited. */
export interface Cited {
  facts: EntryFacts;
  quote: string;
  lines: [number, number];
  bytes: [number, number];
}

/** Citations for passages, in their order; a source is read once for all of them, and one at a time is held. */
export async function cite(cited: readonly Cited[], principal: Principal, reader: SourceReader): Promise<Citation[]> {
  const citations = new Map<Cited, Citation>();
  for (const [uri, group] of Map.groupBy(cited, ({ facts }) => sourceOf(facts))) {
    const source = uri === null ? null : await look(uri, principal, reader);
    for (const one of group) citations.set(one, uri === null ? ofEntry(one) : ofSource(one, uri, source));
  }
  return cited.flatMap((one) => citations.get(one) ?? []);
}

interface Source {
  bytes: Buffer;
  sha256: string;
}

const sourceOf = ({ source }: EntryFacts) => (source && isReadable(source.uri) ? source.uri : null);

async function look(uri: string, principal: Principal, reader: SourceReader): Promise<Source | null> {
  const bytes = await reader.read(uri, principal).catch(() => null); // what cannot be read is missing, whatever the reason
  return bytes && { bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), sha256: await sha256(bytes) };
}

/** SHA-256 in hex, computed off the event loop. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  return Buffer.from(await crypto.subtle.digest("SHA-256", Uint8Array.from(bytes))).toString("hex");
}

/** An entry that is from nowhere else is its own source, and never changes. */
function ofEntry({ facts, quote, lines, bytes }: Cited): Citation {
  const found = { lines, bytes, quote, sha256: facts.sha256 };
  return { uri: `aether:memory/${facts.id}`, ...found, state: "fresh", ref: refOf(facts.id, lines) };
}

function ofSource(cited: Cited, uri: string, source: Source | null): Citation {
  const { facts } = cited;
  const wholeIsCited = facts.source?.sha256 === facts.sha256;
  const anchor: Anchor | null = wholeIsCited
    ? { lines: cited.lines, bytes: cited.bytes, quote: cited.quote }
    : (facts.source?.anchor ?? null);
  const known = facts.source?.sha256 ?? facts.sha256;
  const citation = (state: Citation["state"], at: Pick<Anchor, "lines" | "bytes"> | null): Citation => ({
    ...{ uri, lines: at?.lines ?? null, bytes: at?.bytes ?? null, sha256: known, quote: anchor?.quote ?? null, state },
    ref: refOf(placeOf(uri), at?.lines ?? null),
  });
  if (!source) return citation("missing", anchor);
  if (source.sha256 === known) return citation("fresh", anchor);
  const moved = anchor && locate(source.bytes, anchor.quote, anchor.bytes[0]);
  return moved ? citation("moved", moved) : citation("stale", anchor);
}

function refOf(place: string, lines: [number, number] | null): string {
  if (!lines) return place;
  return `${place}#L${lines[0]}${lines[1] > lines[0] ? `-L${lines[1]}` : ""}`;
}
