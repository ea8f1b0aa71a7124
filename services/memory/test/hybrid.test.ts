// Search with an embedder beside the words: what it adds, and that nothing depends on it.

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { addEntry, forgetEntry, searchMemory } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ownerToken } from "../src/store.ts";
import { createTripleEmbedder } from "./_embedder.ts";
import { ben, type CallAs, type Fixture, startFixture } from "./_fixture.ts";

const missing = requireBackend("nats");

describe.skipIf(missing)(`memory with an embedder${missing ? `: ${missing}` : ""}`, () => {
  const embedder = createTripleEmbedder();
  let fixture: Fixture;
  let service: AsyncDisposable;
  beforeAll(async () => {
    fixture = await startFixture();
    service = await fixture.start("views", { embedder });
  });
  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await fixture[Symbol.asyncDispose]();
  });

  const note = (text: string, more: object = {}, call: CallAs = {}) =>
    fixture.call(addEntry, { kind: "note", text, ...more }, call);
  const find = (q: string, more: object = {}, call: CallAs = {}) => fixture.call(searchMemory, { q, ...more }, call);
  const vectors = (): number => {
    using view = new DatabaseSync(join(fixture.folder, "views", `${ownerToken("user:1000")}.sqlite`), {
      readOnly: true,
    });
    return Number(view.prepare("SELECT count(*) AS count FROM vector").get()?.count);
  };

  it("what no word finds is found by its nearness, and words still count", async () => {
    const grease = await note("Lubricate the impeller every spring.");
    const other = await note("The curtains are blue.");
    await waitFor("the vectors to be made", () => vectors() === 2);
    const found = await find("lubrikating of impalers");
    expect(found.mode).toBe("hybrid");
    expect(found.results[0]).toMatchObject({ id: grease.id, explain: { bm25: null, vector_rank: 1 } });
    const both = await find("blue curtain");
    expect(both.results[0]).toMatchObject({ id: other.id, explain: { bm25_rank: 1, vector_rank: 1 } });
    expect(both.results[0]?.score).toBeCloseTo(2 / 61);
  });

  it("filters, trust and owners hold for what is near as well", async () => {
    await note("Lubricants of the impeller trade.", {}, { as: ben });
    const doubtful = await note("Lubricating an impeller is useless.", { trust: "untrusted", labels: { of: "web" } });
    await waitFor("the vectors to be made", () => vectors() === 3);
    const ids = async (more: object) => (await find("lubrikating impalers", more)).results.map(({ id }) => id);
    expect(await ids({})).toContain(doubtful.id);
    expect(await ids({ min_trust: "tool" })).not.toContain(doubtful.id);
    expect(await ids({ label: ["of=web"] })).toEqual([doubtful.id]);
    expect((await find("lubrikating impalers")).results.every(({ owner }) => owner === "user:1000")).toBe(true);
    await fixture.call(forgetEntry, { id: doubtful.id });
    expect(vectors()).toBe(2);
    expect(await ids({})).not.toContain(doubtful.id);
  });

  it("an embedder that fails costs nothing but nearness, and what was written meanwhile gets its vector later", async () => {
    embedder.fails = true;
    const made = await note("The kettle is descaled with vinegar.");
    expect(await find("kettle")).toMatchObject({ mode: "lexical", results: [{ id: made.id }] });
    expect((await find("ketle deskaled vineger")).results).toEqual([]);
    embedder.fails = false;
    await note("Another note wakes it.");
    await waitFor("the missing vector", () => vectors() === 4);
    expect((await find("ketle deskaled vineger")).results[0]?.id).toBe(made.id);
  });

  it("vectors are made anew with the view", async () => {
    await service[Symbol.asyncDispose]();
    service = await fixture.start("anew", { embedder });
    const before = embedder.asked;
    await waitFor("nearness to be back", async () => (await find("ketle deskaled vineger")).results.length > 0);
    expect(embedder.asked - before).toBeGreaterThanOrEqual(4);
  });
});
