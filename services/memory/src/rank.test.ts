import { describe, expect, it } from "vitest";
import { type Candidate, rank, usualWeights } from "./rank.ts";
import { namedAuthor, toMatch, toTerms } from "./terms.ts";

const nobody = { author: null, after: null, before: null };
const candidate = (row: number, bm25: number | null, more: Partial<Candidate> = {}): Candidate => ({
  ...{ row, chain: String(row), author: "Ada", at: "2026-01-01T00:00:00.000Z", bm25, vectorRank: null, beside: [] },
  ...more,
});
const order = (...given: Parameters<typeof rank>) => rank(...given).map(({ row }) => row);

describe("the order", () => {
  it("is that of bm25 where nothing else is known, the newest first among equals", () => {
    expect(order([candidate(1, 2), candidate(2, 5), candidate(3, 2)], nobody, usualWeights)).toEqual([2, 3, 1]);
  });

  it("lifts what stands beside a hit, and finds what only stands there", () => {
    const chain = "thread:a";
    const beside = [
      candidate(1, 6, { chain, beside: [2] }),
      candidate(2, null, { chain, beside: [1] }),
      candidate(3, 1.9),
    ];
    expect(order(beside, nobody, { ...usualWeights, thread: 0 })).toEqual([1, 3, 2]);
    expect(order(beside, nobody, { ...usualWeights, thread: 0.2 })).toEqual([1, 2, 3]);
  });

  it("lifts what the named author said, and what falls into the named time", () => {
    const all = [candidate(1, 3), candidate(2, 2.5, { author: "Ben", at: "2026-05-03T00:00:00.000Z" })];
    expect(order(all, nobody, usualWeights)).toEqual([1, 2]);
    expect(order(all, { ...nobody, author: "Ben" }, usualWeights)).toEqual([2, 1]);
    expect(order(all, { ...nobody, after: "2026-05-01", before: "2026-06-01" }, usualWeights)).toEqual([2, 1]);
  });

  it("takes ranks of vectors in where there are some", () => {
    const all = [candidate(1, 9), candidate(2, 1, { vectorRank: 1 }), candidate(3, null, { vectorRank: 2 })];
    const ranked = rank(all, nobody, usualWeights);
    expect(ranked.map(({ row }) => row)).toEqual([2, 1, 3]);
    expect(ranked[0]?.score).toBeCloseTo(1 / 62 + 1 / 61);
  });
});

describe("the terms of a question", () => {
  it.each([
    ["Where is Ada's backup disk?", ["ada", "backup", "disk"]],
    ["what is it", ["what", "is", "it"]],
    ["the the the KEY key", ["key"]],
    ['"a" OR (b* NEAR c)', ["near"]],
    ["日 本", ["日", "本"]],
    ["room 7", ["room", "7"]],
    ["?!", []],
  ])("%s", (question, terms) => expect(toTerms(question)).toEqual(terms));

  it("are quoted, each", () => {
    expect(toMatch(["a", 'b"c'])).toBe('"a" OR "b""c"');
    expect(toMatch([])).toBeNull();
  });

  it("name an author by a full name or a part of it, and nobody where there are two", () => {
    const authors = ["Ada Lovelace", "Ben", "Ada King"];
    expect(namedAuthor("what did Lovelace say?", authors)).toBe("Ada Lovelace");
    expect(namedAuthor("what did ada say?", authors)).toBeNull();
    expect(namedAuthor("what did ben's dog do?", authors)).toBe("Ben");
    expect(namedAuthor("what did the benevolent say?", authors)).toBeNull();
  });
});
