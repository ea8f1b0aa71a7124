// One search: the question's words against the owner's index, what lies beside the hits, the order, and then of the best few
// their words. Everything that comes out has passed the filters, also what was found only beside a hit.
import type { Request, searchMemory } from "@aether/contracts";
import { dateRange } from "./dates.ts";
import { toFilter } from "./entry-view.ts";
import { type Candidate, type Named, type Ranked, rank, usualWeights, type Weights } from "./rank.ts";
import type { SqlRow, SqlValue } from "./reader.ts";
import type { EntryFacts } from "./record.ts";
import { namedAuthor, toMatch, toTerms } from "./terms.ts";

/** Reads one owner's view. */
type Read = (sql: string, ...values: SqlValue[]) => Promise<SqlRow[]>;

export interface SearchOptions {
  read: Read;
  now: Date;
  authors: readonly string[];
  /** The least trusted that may come out, as its place among the levels. */
  leastTrust: number;
  /** Rows that pass the filter and are near in meaning, the nearest first; null where nobody knows. */
  near?: ((filter: Filter) => Promise<readonly number[] | null>) | undefined;
  weights?: Weights;
  /** Weights of title, body, author and date. */
  columns?: readonly [number, number, number, number];
  stops?: ReadonlySet<string>;
}

export interface Hit extends Omit<Ranked, "row"> {
  facts: EntryFacts;
  quote: string;
  snippet: string;
  lines: [number, number];
  bytes: [number, number];
}

type Query = Pick<
  Request<typeof searchMemory>,
  "q" | "k" | "kind" | "author" | "thread" | "label" | "intent_id" | "job_id" | "after" | "before"
>;

export interface Found {
  named: Named;
  mode: "lexical" | "hybrid";
  hits: Hit[];
}

const foundMax = 200;
const besideMax = 50;
const matchesMax = 4_000;
const termsMin = 2;
const columnWeights = [2, 1, 0.3, 0.25] as const;

/** Answers the best passages, and what else the question was understood to name. */
export async function search(query: Query, options: SearchOptions): Promise<Found> {
  const named = toNamed(query.q, options);
  const match = toMatch(await affordable(toTerms(query.q, options.stops), options.read));
  const filter = toFilter({ ...query, leastTrust: options.leastTrust }, options.now.toISOString());
  filter.where.push("e.at <= ?");
  filter.values.push(options.now.toISOString());
  const [found, near] = await Promise.all([
    match === null ? [] : find(match, filter, options),
    options.near?.(filter) ?? null,
  ]);
  const candidates = await addBeside(found, near ?? [], filter, options);
  const best = rank(candidates, named, options.weights ?? usualWeights)
    .filter(({ score }) => score > 0)
    .slice(0, query.k);
  return { named, mode: near ? "hybrid" : "lexical", hits: await describe(best, match, options.read) };
}

/**
 * The rarest words first, as many as a search can afford: what it costs are the passages that match, and a word that is
 * everywhere tells little. All of them in a memory of some thousand passages.
 */
async function affordable(terms: readonly string[], read: Read): Promise<string[]> {
  const counts = await read(
    `SELECT j.value AS term, (SELECT count(*) FROM passage_text WHERE passage_text MATCH '"' || j.value || '"') AS matches
     FROM json_each(?) j ORDER BY matches`,
    JSON.stringify(terms),
  );
  let left = matchesMax;
  const rarest = counts.filter(({ matches }, place) => {
    left -= Number(matches);
    return left >= 0 || place < termsMin;
  });
  return rarest.map(({ term }) => String(term));
}

function toNamed(question: string, { authors, now }: SearchOptions): Named {
  const range = dateRange(question, now);
  const time = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());
  return { author: namedAuthor(question, authors), after: time(range?.fromMs), before: time(range?.toMs) };
}

export type Filter = ReturnType<typeof toFilter>;
const isOf = (filter: Filter) => filter.where.join(" AND ");

/** The best hits that pass the filter. */
async function find(
  match: string,
  filter: Filter,
  { read, columns = columnWeights }: SearchOptions,
): Promise<SqlRow[]> {
  const query = (from: string, where: string, select: string) =>
    `SELECT p.row, p.chain, e.author, e.at, t.bm25${select} FROM (${from}) t
     CROSS JOIN passage p ON p.row = t.row CROSS JOIN entry e ON e.id = p.id
     ${where} ORDER BY t.bm25 DESC, t.row DESC`;
  const all = `SELECT rowid AS row, -bm25(passage_text, ${columns.join(", ")}) AS bm25 FROM passage_text WHERE passage_text MATCH ?`;
  const values = filter.values as SqlValue[];
  // Where nearly everything passes, only the best are looked up, and not all that match.
  const best = `${all} ORDER BY bm25 DESC, rowid DESC LIMIT ${2 * foundMax}`;
  const looked = await read(query(best, "", `, (${isOf(filter)}) AS passes`), ...values, match);
  const passing = looked.filter(({ passes }) => passes === 1).slice(0, foundMax);
  if (looked.length < 2 * foundMax || passing.length === foundMax) return passing;
  return read(`${query(all, `WHERE ${isOf(filter)}`, "")} LIMIT ${foundMax}`, match, ...values);
}

/** The hits with the rows beside the best of them, and those rows themselves where the filters let them pass. */
async function addBeside(
  found: readonly SqlRow[],
  nearest: readonly number[],
  filter: Filter,
  { read }: SearchOptions,
): Promise<Candidate[]> {
  const hits = new Map(found.map((row) => [Number(row.row), Number(row.bm25)]));
  const near = new Map(nearest.map((row, index) => [row, index + 1]));
  const beside = await readBeside([...hits.keys()].slice(0, besideMax), read);
  const more = [...new Set([...near.keys(), ...beside.keys()])].filter((row) => !hits.has(row));
  const passing = await read(
    `SELECT p.row, p.chain, e.author, e.at
     FROM json_each(?) j CROSS JOIN passage p ON p.row = j.value CROSS JOIN entry e ON e.id = p.id WHERE ${isOf(filter)}`,
    JSON.stringify(more),
    ...(filter.values as SqlValue[]),
  );
  return [...found, ...passing].map((one) => {
    const row = Number(one.row);
    return {
      ...{ row, chain: String(one.chain), author: String(one.author), at: String(one.at) },
      ...{ bm25: hits.get(row) ?? null, vectorRank: near.get(row) ?? null, beside: [...(beside.get(row) ?? [])] },
    };
  });
}

/** Of these rows the two before and the two behind in the same thread or document, told both ways. */
async function readBeside(rows: readonly number[], read: Read): Promise<Map<number, Set<number>>> {
  const step = (order: "<" | ">", direction: "DESC" | "ASC", offset: 0 | 1) =>
    `(SELECT n.row FROM passage n WHERE n.chain = p.chain AND n.row ${order} p.row ORDER BY n.row ${direction} LIMIT 1 OFFSET ${offset})`;
  const found = await read(
    `SELECT p.row, ${step("<", "DESC", 0)} AS a, ${step("<", "DESC", 1)} AS b, ${step(">", "ASC", 0)} AS c, ${step(">", "ASC", 1)} AS d
     FROM json_each(?) j CROSS JOIN passage p ON p.row = j.value`,
    JSON.stringify(rows),
  );
  const beside = new Map<number, Set<number>>();
  const put = (from: number, to: number) => beside.set(from, (beside.get(from) ?? new Set()).add(to));
  for (const { row, ...others } of found) {
    for (const other of Object.values(others)) {
      if (other === null) continue;
      put(Number(row), Number(other));
      put(Number(other), Number(row));
    }
  }
  return beside;
}

/** The words of what is answered, with marks where the index knows them. */
async function describe(best: readonly Ranked[], match: string | null, read: Read): Promise<Hit[]> {
  const rows = JSON.stringify(best.map(({ row }) => row));
  const texts = await read(
    `SELECT p.*, t.body, e.facts FROM json_each(?) j CROSS JOIN passage p ON p.row = j.value
     CROSS JOIN passage_text t ON t.rowid = p.row CROSS JOIN entry e ON e.id = p.id`,
    rows,
  );
  const marked =
    match === null
      ? []
      : await read(
          `SELECT t.rowid AS row, snippet(passage_text, 1, '<mark>', '</mark>', '…', 40) AS snippet
     FROM json_each(?) j CROSS JOIN passage_text t ON t.rowid = j.value WHERE passage_text MATCH ?`,
          rows,
          match,
        );
  const snippets = new Map(marked.map(({ row, snippet }) => [Number(row), String(snippet)]));
  const byRow = new Map(texts.map((text) => [Number(text.row), text]));
  return best.flatMap(({ row, score, explain }) => {
    const text = byRow.get(row);
    if (!text) return []; // forgotten in between
    const quote = String(text.body);
    return {
      ...{ score, explain, quote, facts: JSON.parse(String(text.facts)) as EntryFacts },
      snippet: snippets.get(row) ?? shortened(quote),
      lines: [Number(text.line_from), Number(text.line_to)] as [number, number],
      bytes: [Number(text.byte_from), Number(text.byte_to)] as [number, number],
    };
  });
}

function shortened(text: string): string {
  const characters = [...text];
  return characters.length > 240 ? `${characters.slice(0, 239).join("")}…` : text;
}
