// What people and agents ask of memory: one small function per operation of the contract.
import { createHash } from "node:crypto";
import { type Call, handler } from "@aether/bus";
import {
  addEntry,
  createId,
  forgetEntry,
  getEntry,
  listEntries,
  type MemoryEntry,
  ProblemError,
  principalName,
  type Reply,
  searchMemory,
  trustLevels,
} from "@aether/contracts";
import { cite } from "./citation.ts";
import { forget } from "./forget.ts";
import { draft, settle } from "./keep.ts";
import type { PdfReader } from "./pdf.ts";
import { placeOfLines } from "./places.ts";
import { type EntryFacts, toFacts, toPublic } from "./record.ts";
import { type Filter, search } from "./search.ts";
import type { Shelf, Shelves } from "./shelves.ts";
import { fileUri, originOf, type SourceReader } from "./source.ts";
import type { Found, Store } from "./store.ts";
import type { Vectors } from "./vectors.ts";

export interface HandlerParts {
  store: Store;
  shelves: Shelves;
  sources: SourceReader;
  pdf: PdfReader;
  /** Null where nobody makes vectors. */
  vectors: Vectors | null;
  clock: { now(): Date };
}

/** A page ends where an answer of the bus would be too large. */
const pageMaxBytes = 512 * 1024;
const quoteMaxBytes = 4 * 1024;

export function memoryHandlers({ store, shelves, sources, pdf, vectors, clock }: HandlerParts) {
  const load = async ({ id }: { id: string }) => {
    const found = await store.find(id);
    if (!found) return null;
    const labels = found.record.type === "entry" ? found.record.labels : {};
    return { resource: { id, owner: found.record.owner, labels }, value: found };
  };

  return [
    handler(addEntry, {
      context: ({ kind, path, artifact, source }) => ({
        kind,
        origin: originOf(path ? fileUri(path) : artifact ? `artifact:${artifact}` : source),
      }),
      digest: (request) => `sha256:${createHash("sha256").update(JSON.stringify(request)).digest("hex")}`,
      jobId: ({ job_id }) => job_id,
      intentId: ({ intent_id }) => intent_id,
      async handle(request, call) {
        const now = clock.now();
        const asked = await draft(
          request,
          { id: call.createdId ?? createId("mem"), asker: call, now },
          { sources, pdf },
        );
        return await shelves.use(asked.owner, async (shelf) => {
          const { facts, sequence, ...superseded } = await shelf.write(asked.id, () => settle(asked, shelf, now));
          vectors?.fill(shelf);
          return toPublic(facts, { revision: sequence, ...superseded });
        });
      },
    }),
    handler(getEntry, {
      load,
      async handle({ lines, context }, call: Call<Found>) {
        const { record, sequence } = call.loaded;
        if (record.type !== "entry")
          throw new ProblemError("not-found", { detail: `forgotten at ${record.forgotten_at}` });
        const text = Buffer.from(record.text);
        const place = placeOfLines(text, ...toLines(lines, context));
        if (!place) throw new ProblemError("not-found", { detail: "the entry has no such lines" });
        const facts = toFacts(record);
        const quote = text.toString("utf8", ...place.bytes);
        const [citation] = await cite([{ facts, quote, ...place }], call, sources);
        if (!citation) throw new Error("nothing was cited");
        return await shelves.use(record.owner, async (shelf) => ({
          ...present(shelf, facts, sequence),
          text: lines === undefined ? record.text : quote,
          // A long one stands in the answer once.
          citation: Buffer.byteLength(citation.quote ?? "") > quoteMaxBytes ? { ...citation, quote: null } : citation,
        }));
      },
    }),
    handler(listEntries, {
      async handle(request, call) {
        return await shelves.use(ownerOf(request.owner, call), async ({ queries }) => {
          const rows = queries.list(request, clock.now().toISOString());
          const all = rows.slice(0, request.limit);
          const items = withinPage(
            all.map(({ facts, sequence, ...superseded }) => toPublic(facts, { revision: sequence, ...superseded })),
          );
          return { items, next_cursor: rows.length > items.length ? (items.at(-1)?.id ?? null) : null };
        });
      },
    }),
    handler(searchMemory, { handle: (request, call) => answerSearch(request, call) }),
    handler(forgetEntry, {
      load,
      async handle({ id }, call: Call<Found>) {
        const { record } = call.loaded;
        const { forgotten_at, forgotten_by } = await shelves.use(record.owner, (shelf) =>
          forget(call.loaded, { shelf, store, by: principalName(call.principal), now: clock.now() }),
        );
        return { id, entry_id: id, forgotten_at, forgotten_by };
      },
    }),
  ] as const;

  async function answerSearch(
    request: Parameters<typeof search>[0] & {
      owner?: string | undefined;
      min_trust?: (typeof trustLevels)[number] | undefined;
    },
    call: Call,
  ): Promise<Reply<typeof searchMemory>> {
    const startedAt = performance.now();
    // What nobody vouches for reaches a person, who sees what it is, and no program that does not ask for it.
    const least = request.min_trust ?? (call.principal.type === "User" ? "untrusted" : "tool");
    return await shelves.use(ownerOf(request.owner, call), async (shelf) => {
      const near = vectors ? (filter: Filter) => vectors.near(shelf, request.q, filter) : undefined;
      const { read, queries } = shelf;
      const options = {
        read,
        near,
        now: clock.now(),
        authors: queries.authors(),
        leastTrust: trustLevels.indexOf(least),
      };
      const { named, mode, hits } = await search(request, options);
      const cited = hits.map(({ facts, quote, lines, bytes }) => ({ facts, quote, lines, bytes }));
      const citations = await cite(cited, call, sources);
      const results = hits.flatMap(({ facts, score, explain, snippet }, i) => {
        const citation = citations[i];
        if (!citation) return [];
        const { revision: _, entry_id: _id, size_bytes: _size, lines: _lines, ...entry } = toPublic(facts, current);
        return { ...entry, snippet, score, explain, citation };
      });
      const took_ms = Math.round((performance.now() - startedAt) * 100) / 100;
      return { query: request.q, mode, took_ms, understood: named, results: withinPage(results) };
    });
  }
}

/** The first of them, as many as an answer of the bus can hold. */
function withinPage<T>(items: readonly T[]): T[] {
  let sizeBytes = 0;
  const over = items.findIndex((item) => {
    sizeBytes += Buffer.byteLength(JSON.stringify(item));
    return sizeBytes > pageMaxBytes;
  });
  return items.slice(0, over < 0 ? items.length : over);
}

const current = { revision: 0, supersededBy: null, supersededAt: null };

function present(shelf: Shelf, facts: EntryFacts, sequence: number): MemoryEntry {
  const row = shelf.queries.get(facts.id);
  const { supersededBy = null, supersededAt = null } = row ?? {};
  return toPublic(facts, { revision: sequence, supersededBy, supersededAt });
}

/** Whose memory is meant; somebody else's is there only for those who may read everybody's. */
function ownerOf(asked: string | undefined, { principal, decision }: Pick<Call, "principal" | "decision">): string {
  const own = principalName(principal);
  if (asked === undefined || asked === own) return own;
  if (decision?.scope !== "all") throw new ProblemError("not-found");
  return asked;
}

/** The first and the last line that are asked for, with so many more on either side. */
function toLines(lines: string | undefined, context: number): [number, number] {
  if (lines === undefined) return [1, Number.POSITIVE_INFINITY];
  const [first = 1, last = first] = lines.split("-").map(Number);
  return [Math.max(1, first - context), Math.max(first, last) + context];
}
