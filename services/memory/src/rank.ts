// From what the index found to an order. bm25 judges each passage alone; a good answer is often beside the words that were
// asked for, in a conversation that speaks of the matter, said by the person who was named. Pure.

/** How much each part counts; a bench switches them off one by one. */
export interface Weights {
  /** Of what is found in the two passages before and the two behind, in the same conversation or document. */
  context: number;
  /** Of the best passage of the same conversation or document. */
  thread: number;
  /** Times this for what the named author said. */
  author: number;
  /** Times this for what falls into the named time. */
  date: number;
}

export const usualWeights: Weights = { context: 0.25, thread: 0.3, author: 1.5, date: 1.5 };

/** A passage that may be an answer. */
export interface Candidate {
  row: number;
  chain: string;
  author: string;
  at: string;
  /** Null where it was found only beside another one. */
  bm25: number | null;
  /** Rank among the vectors, from 1. */
  vectorRank: number | null;
  /** Rows of the two before and the two behind. */
  beside: readonly number[];
}

export interface Ranked {
  row: number;
  score: number;
  explain: {
    bm25: number | null;
    bm25_rank: number | null;
    vector_rank: number | null;
    context: number;
    thread: number;
    author_boost: number;
    date_boost: number;
  };
}

/** What the question names beside its words. */
export interface Named {
  author: string | null;
  after: string | null;
  before: string | null;
}

/** Where reciprocal ranks begin to flatten (Cormack, Clarke, Büttcher 2009). */
const fusion = 60;

/** The candidates, the best first; equal ones by age, the newest first. */
export function rank(candidates: readonly Candidate[], named: Named, weights: Weights): Ranked[] {
  const own = new Map(candidates.map(({ row, bm25 }) => [row, bm25 ?? 0]));
  const best = new Map<string, number>();
  for (const { chain, bm25 } of candidates) best.set(chain, Math.max(best.get(chain) ?? 0, bm25 ?? 0));
  const places = ranksOf(candidates.filter(({ bm25 }) => bm25 !== null).map(({ row }) => [row, own.get(row) ?? 0]));
  const lexical = candidates.map((one): Ranked => {
    const context = weights.context * one.beside.reduce((sum, row) => sum + (own.get(row) ?? 0), 0);
    const thread = weights.thread * (best.get(one.chain) ?? 0);
    const author_boost = one.author === named.author ? weights.author : 1;
    const date_boost = isWithin(one.at, named) ? weights.date : 1;
    const score = ((one.bm25 ?? 0) + context + thread) * author_boost * date_boost;
    const bm25_rank = places.get(one.row) ?? null;
    const explain = {
      bm25: one.bm25,
      bm25_rank,
      vector_rank: one.vectorRank,
      context,
      thread,
      author_boost,
      date_boost,
    };
    return { row: one.row, score, explain };
  });
  const isHybrid = candidates.some(({ vectorRank }) => vectorRank !== null);
  return (isHybrid ? fuse(lexical) : lexical).sort((a, b) => b.score - a.score || b.row - a.row);
}

/** Reciprocal rank fusion of the lexical order with the vectors'. */
function fuse(lexical: readonly Ranked[]): Ranked[] {
  const places = ranksOf(lexical.filter(({ score }) => score > 0).map(({ row, score }) => [row, score]));
  return lexical.map((one) => ({
    ...one,
    score: reciprocal(places.get(one.row)) + reciprocal(one.explain.vector_rank),
  }));
}

const reciprocal = (place: number | null | undefined) => (place ? 1 / (fusion + place) : 0);

function ranksOf(scores: [row: number, score: number][]): Map<number, number> {
  const sorted = scores.sort(([rowA, a], [rowB, b]) => b - a || rowB - rowA);
  return new Map(sorted.map(([row], index) => [row, index + 1]));
}

function isWithin(at: string, { after, before }: Named): boolean {
  return after !== null && before !== null && at >= after && at < before;
}
