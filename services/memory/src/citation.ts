// Where an answer's words stand, looked up now: its source is read again, with the rights of who asks. Equal bytes are fresh;
// in changed ones the words are looked for, nearest to where they were.
import type { Citation } from "@aether/contracts";
import { locate } from "./places.ts";
import type { Anchor, EntryFacts } from "./record.ts";
import { type Asker, isReadable, placeOf, type Source, type SourceReader } from "./source.ts";

/** A passage of an entry that is to be cited. */
export interface Cited {
  facts: EntryFacts;
  quote: string;
  lines: [number, number];
  bytes: [number, number];
}

/** Citations for passages, in their order; a source is read once for all of them, and one at a time is held. */
export async function cite(cited: readonly Cited[], asker: Asker, reader: SourceReader): Promise<Citation[]> {
  const citations = new Map<Cited, Citation>();
  for (const [uri, group] of Map.groupBy(cited, ({ facts }) => sourceOf(facts))) {
    const source = uri === null ? null : await look(uri, group, asker, reader);
    for (const one of group) citations.set(one, uri === null ? ofEntry(one) : ofSource(one, uri, source));
  }
  return cited.flatMap((one) => citations.get(one) ?? []);
}

const sourceOf = ({ source }: EntryFacts) => (source && isReadable(source.uri) ? source.uri : null);

/** What its entries knew it by: its digest when they were written. */
const digestOf = ({ source, sha256 }: EntryFacts) => source?.sha256 ?? sha256;

async function look(uri: string, cited: readonly Cited[], asker: Asker, reader: SourceReader): Promise<Source | null> {
  const [known = null, ...others] = new Set(cited.map(({ facts }) => digestOf(facts)));
  const source = await reader.read(uri, asker, others.length === 0 ? known : null).catch(() => null);
  return source && "sha256" in source ? source : null; // what cannot be read is missing, whatever the reason
}

/** An entry that is from nowhere else is its own source, and never changes. */
function ofEntry({ facts, quote, lines, bytes }: Cited): Citation {
  const found = { lines, bytes, quote, sha256: facts.sha256 };
  return { uri: `aether:memory/${facts.id}`, ...found, state: "fresh", ref: refOf(facts.id, lines) };
}

function ofSource(cited: Cited, uri: string, source: Source | null): Citation {
  const { facts } = cited;
  const page = pageOf(facts, cited.lines[0]);
  const wholeIsCited = page !== null || facts.source?.sha256 === facts.sha256;
  const anchor: Anchor | null = wholeIsCited
    ? { lines: cited.lines, bytes: cited.bytes, quote: cited.quote }
    : (facts.source?.anchor ?? null);
  const known = digestOf(facts);
  const citation = (state: Citation["state"], at: Pick<Anchor, "lines" | "bytes"> | null): Citation => ({
    ...{
      uri: page === null ? uri : `${uri}#page=${page}`,
      lines: at?.lines ?? null,
      bytes: at?.bytes ?? null,
      sha256: known,
      quote: anchor?.quote ?? null,
      state,
    },
    ref: page === null ? refOf(placeOf(uri), at?.lines ?? null) : `${placeOf(uri)}#page=${page}`,
  });
  if (!source) return citation("missing", anchor);
  if (source.sha256 === known) return citation("fresh", anchor);
  // The words of a PDF do not stand in its bytes: of a changed one nothing is known.
  const moved = page === null && anchor && source.bytes && locate(source.bytes, anchor.quote, anchor.bytes[0]);
  return moved ? citation("moved", moved) : citation("stale", anchor);
}

/** The page of a PDF that a line of its text is on (RFC 8118); null of anything else. */
function pageOf({ source }: EntryFacts, line: number): number | null {
  return source?.pages ? source.pages.findLastIndex((first) => first <= line) + 1 : null;
}

function refOf(place: string, lines: [number, number] | null): string {
  if (!lines) return place;
  return `${place}#L${lines[0]}${lines[1] > lines[0] ? `-L${lines[1]}` : ""}`;
}
