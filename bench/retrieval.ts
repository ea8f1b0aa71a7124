// How much of what was asked for is among the first ten answers, over the conversations and documents of bench/data/memory,
// with each part of the ranking switched off in turn. Everything is one owner's memory, as it would be.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createId, type MemoryKind } from "@aether/contracts";
import { createLayout, putEntry } from "../services/memory/src/entry-view.ts";
import { usualWeights } from "../services/memory/src/rank.ts";
import { type StoredEntry, titleOf } from "../services/memory/src/record.ts";
import { type Hit, type SearchOptions, search } from "../services/memory/src/search.ts";
import type { Figure } from "./measure.ts";

const folder = join(import.meta.dirname, "data/memory");
const now = new Date("2026-07-01T12:00:00.000Z");
const k = 10;

interface Variant extends Partial<Pick<SearchOptions, "weights" | "columns" | "stops">> {
  tokenizer?: string;
}

const unicode = "unicode61 remove_diacritics 2";
const nothing = { context: 0, thread: 0, author: 1, date: 1 };
const variants: Record<string, Variant> = {
  everything: {},
  "without neighbours": { weights: { ...usualWeights, context: 0 } },
  "without the thread's score": { weights: { ...usualWeights, thread: 0 } },
  "without the named author": { weights: { ...usualWeights, author: 1 } },
  "without the named time": { weights: { ...usualWeights, date: 1 } },
  "without title, author and date columns": { columns: [0, 1, 0, 0] },
  "without the stop list": { stops: new Set() },
  "without stemming": { tokenizer: unicode },
  "with words alone": { weights: nothing, columns: [0, 1, 0, 0], stops: new Set(), tokenizer: unicode },
};

interface Quality {
  recall: number;
  mrr: number;
}

export async function benchRetrieval(): Promise<Figure[]> {
  const measured = new Map<string, Quality>();
  for (const [name, variant] of Object.entries(variants)) measured.set(name, await measureQuality(variant));
  const full = measured.get("everything") ?? { recall: 0, mrr: 0 };
  return [...measured].flatMap(([name, { recall, mrr }]) => [
    {
      ...{ name: `recall@${k} ${name}`, value: recall * 100, unit: "%" },
      ...(name !== "everything" && { baseline: { name: "everything", value: full.recall * 100 } }),
      ...{ ratio: recall / full.recall, note: `MRR ${mrr.toFixed(3)}`, met: name !== "everything" || recall >= 0.7 },
      aim: name === "everything" ? "≥ 70 %" : "(what that part is worth)",
    },
  ]);
}

/** Share of the marked evidence among the first ten, and the mean of one by the rank of the first of it. */
async function measureQuality(variant: Variant): Promise<Quality> {
  const { tokenizer, ...rest } = variant;
  using database = new DatabaseSync(":memory:");
  database.exec(createLayout(tokenizer));
  const entries = readEntries();
  for (const [sequence, entry] of entries.entries()) putEntry(database, entry, sequence + 1);
  const read: SearchOptions["read"] = async (sql, ...values) => database.prepare(sql).all(...values);
  const authors = [...new Set(entries.map(({ author }) => author))];
  const questions = readQuestions();
  let recall = 0;
  let mrr = 0;
  for (const { question, evidence } of questions) {
    const { hits } = await search({ q: question, k }, { ...{ read, now, authors, leastTrust: 3 }, ...rest });
    const ranks = evidence.map((wanted) => hits.findIndex((hit) => isEvidence(hit, wanted)));
    recall += ranks.filter((rank) => rank >= 0).length / evidence.length;
    const first = Math.min(...ranks.map((rank) => (rank < 0 ? Number.POSITIVE_INFINITY : rank)));
    mrr += 1 / (first + 1);
  }
  return { recall: recall / questions.length, mrr: mrr / questions.length };
}

/** Evidence is a turn, `boat:12`, or words of a document's passage, `harbour.md "four knots"`. */
function isEvidence(hit: Hit, wanted: string): boolean {
  const [, title, words] = /^(\S+) "(.*)"$/.exec(wanted) ?? [];
  if (words === undefined) return hit.facts.labels.place === wanted;
  return hit.facts.labels.place === title && hit.quote.replaceAll(/\s+/g, " ").includes(words);
}

function readQuestions(): { question: string; evidence: string[] }[] {
  const lines = readFileSync(join(folder, "questions.txt"), "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const [evidence = "", question = ""] = line.split(" | ");
    return { question, evidence: evidence.includes('"') ? [evidence] : evidence.split(",") };
  });
}

function readEntries(): StoredEntry[] {
  return readdirSync(folder)
    .sort()
    .flatMap((file) => {
      const text = readFileSync(join(folder, file), "utf8");
      if (file.endsWith(".md")) return [toEntry("document", { text, place: file, author: "user:1000" })];
      return file === "questions.txt" ? [] : readTurns(text, file.replace(".txt", ""));
    });
}

/** `@ TIME` begins a session; a turn is `NUMBER AUTHOR: TEXT`. */
function readTurns(text: string, thread: string): StoredEntry[] {
  let at = 0;
  return text
    .trimEnd()
    .split("\n")
    .flatMap((line) => {
      if (line.startsWith("@ ")) at = Date.parse(line.slice(2));
      const [, number, author = "", words = ""] = /^(\d+) (\w+): (.*)$/.exec(line) ?? [];
      if (!number) return [];
      at += 30_000;
      return [toEntry("note", { text: words, place: `${thread}:${number}`, author, thread, at })];
    });
}

function toEntry(
  kind: MemoryKind,
  about: { text: string; place: string; author: string; thread?: string; at?: number },
): StoredEntry {
  const { text, place, author, thread = null, at = now.getTime() } = about;
  const time = new Date(at).toISOString();
  return {
    ...{ type: "entry", id: createId("mem"), owner: "user:1000", kind, title: titleOf(text) },
    ...{ text, author, thread, labels: { place }, source: null, created_by: { kind: "User", id: "1000" } },
    ...{ created_at: time, valid_from: time, intent_id: null, job_id: null, derived_from: [], supersedes: null },
    ...{ trust: "user", expires_at: null },
  };
}
