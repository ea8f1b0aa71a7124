// A search over a large view in memory: what is left out to be quick, and what must not be.
import { DatabaseSync } from "node:sqlite";
import { createId } from "@aether/contracts";
import { beforeAll, describe, expect, it } from "vitest";
import { createLayout, putEntry } from "./entry-view.ts";
import { type SearchOptions, search } from "./search.ts";

const database = new DatabaseSync(":memory:");
const now = new Date("2026-07-01T12:00:00.000Z");
const read: SearchOptions["read"] = async (sql, ...values) => database.prepare(sql).all(...values);
let sequence = 0;

function put(text: string, trust: "user" | "untrusted" = "user"): void {
  const at = now.toISOString();
  putEntry(
    database,
    {
      ...{ type: "entry", id: createId("mem"), owner: "user:1", kind: "note", title: "", text, author: "ada", trust },
      ...{ thread: null, labels: {}, source: null, created_by: { kind: "User", id: "1" }, created_at: at },
      ...{ intent_id: null, job_id: null, derived_from: [], supersedes: null, valid_from: at, expires_at: null },
    },
    ++sequence,
  );
}

async function find(q: string, leastTrust = 3): Promise<string[]> {
  const { hits } = await search({ q, k: 50 }, { read, now, authors: [], leastTrust });
  return hits.map(({ quote }) => quote);
}

describe("a search among thousands", () => {
  beforeAll(() => {
    database.exec(createLayout());
    for (let i = 0; i < 4_500; i++) put(`water number ${i}`);
    for (let i = 0; i < 600; i++) put(`kettle kettle ${i}`, "untrusted");
    put("water for the grey heron");
    put("a kettle of quite another kind, that is described at some length here");
  });

  it("leaves out a word that is everywhere, where a rarer one is there", async () => {
    expect(await find("water for a grey heron")).toEqual(["water for the grey heron"]);
  });

  it("still looks for it where it is all there is", async () => {
    expect(await find("water")).toHaveLength(50);
  });

  it("finds what passes a filter behind hundreds of better hits that do not", async () => {
    expect(await find("kettle", 0)).toEqual(["a kettle of quite another kind, that is described at some length here"]);
  });
});
