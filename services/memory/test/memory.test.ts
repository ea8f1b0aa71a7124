// Notes and documents over the bus: kept, found, cited, superseded, forgotten.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { addEntry, createId, forgetEntry, getEntry, listEntries, searchMemory } from "@aether/contracts";
import { requireBackend } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allow, aurora, ben, type CallAs, type Fixture, startFixture } from "./_fixture.ts";

const missing = requireBackend("nats");

describe.skipIf(missing)(`memory${missing ? `: ${missing}` : ""}`, () => {
  let fixture: Fixture;
  let service: AsyncDisposable;
  beforeAll(async () => {
    fixture = await startFixture();
    service = await fixture.start();
  });
  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await fixture[Symbol.asyncDispose]();
  });

  const note = (text: string, more: object = {}, call: CallAs = {}) =>
    fixture.call(addEntry, { kind: "note", text, ...more }, call);
  const find = (q: string, more: object = {}, call: CallAs = {}) => fixture.call(searchMemory, { q, ...more }, call);

  it("a note is found by its words at once, with who, when and where", async () => {
    const made = await note("The spare key hangs behind the ficus.", { author: "Ada", labels: { room: "hall" } });
    const found = await find("where are the spare keys?");
    expect(found).toMatchObject({
      mode: "lexical",
      results: [{ id: made.id, author: "Ada", labels: { room: "hall" } }],
    });
    expect(found.results[0]).toMatchObject({
      snippet: "The <mark>spare</mark> <mark>key</mark> hangs behind the ficus.",
      trust: "user",
      provenance: { created_by: { kind: "User", id: "1000" }, derived_from: [], supersedes: null },
      citation: {
        ...{ uri: `aether:memory/${made.id}`, lines: [1, 1], bytes: [0, 37], state: "fresh", ref: `${made.id}#L1` },
        quote: "The spare key hangs behind the ficus.",
      },
    });
    expect(await fixture.call(getEntry, { id: made.id })).toMatchObject({
      text: "The spare key hangs behind the ficus.",
    });
  });

  it("a document is found by its passage, which opens at its lines", async () => {
    const path = join(fixture.folder, "guide.md");
    const text = "# Boat\r\n\r\nPaint the hull.\r\n\r\n## Engine\r\n\r\nThe impeller wants grease every spring.\r\n";
    writeFileSync(path, text);
    const made = await fixture.call(addEntry, { kind: "document", path });
    expect(made).toMatchObject({ title: "Boat", source: `file://${path}`, lines: 7, size_bytes: text.length });
    const { results } = await find("when to grease the impeller");
    const [first] = results;
    expect(first).toMatchObject({ id: made.id, citation: { lines: [5, 7], state: "fresh", ref: `${path}#L5-L7` } });
    const [from = 0, to = 0] = first?.citation.bytes ?? [];
    expect(readFileSync(path).subarray(from, to).toString()).toBe(first?.citation.quote);
    const opened = await fixture.call(getEntry, { id: made.id, lines: "7", context: 1 });
    expect(opened).toMatchObject({ text: "\r\nThe impeller wants grease every spring.", citation: { lines: [6, 7] } });
    await expect(fixture.call(getEntry, { id: made.id, lines: "8" })).rejects.toMatchObject({ slug: "not-found" });
  });

  it("a citation is fresh, moved, stale or missing as its file is now", async () => {
    const path = join(fixture.folder, "log.txt");
    writeFileSync(path, "first line\nthe pump failed at noon\nlast line\n");
    const made = await note("Look at the pump.", { source: `file://${path}#L2` });
    const state = async () => (await find("pump", { k: 1 })).results[0]?.citation;
    expect(await state()).toMatchObject({ state: "fresh", lines: [2, 2], quote: "the pump failed at noon" });
    writeFileSync(path, "first line\nanother\nthe pump failed at noon\nlast line\n");
    expect(await state()).toMatchObject({ state: "moved", lines: [3, 3], bytes: [19, 42], ref: `${path}#L3` });
    writeFileSync(path, "first line\nthe pump works\n");
    expect(await state()).toMatchObject({ state: "stale", lines: [2, 2] });
    writeFileSync(`${path}.elsewhere`, "the pump failed at noon");
    rmSync(path);
    expect(await state()).toMatchObject({ state: "missing" });
    symlinkSync(`${path}.elsewhere`, path);
    expect(await state()).toMatchObject({ state: "missing" });
    expect((await fixture.call(getEntry, { id: made.id })).citation.state).toBe("missing");
  });

  it("what says the same again is refused and named; a retry with its key is not", async () => {
    const made = await note("Tea at four, always.", {}, { idempotencyKey: "tea" });
    await expect(note("tea  at FOUR, always.\n")).rejects.toMatchObject({
      slug: "conflict",
      problem: { detail: `${made.id} says the same` },
    });
    expect(await note("Tea at four, always.", {}, { idempotencyKey: "tea" })).toEqual(made);
    expect(await note("Tea at four, always.", {}, { as: ben })).toMatchObject({ owner: "user:1001" });
    expect(await note("Tea at four, always.", { thread: "kitchen" })).toMatchObject({ thread: "kitchen" });
  });

  it("what is superseded is not searched, and its place is taken once", async () => {
    const old = await note("The gate code is 1111.");
    const next = await note("The gate code is 2222.", { supersedes: old.id });
    expect((await find("gate code")).results.map(({ id }) => id)).toEqual([next.id]);
    expect(await fixture.call(getEntry, { id: old.id })).toMatchObject({
      superseded_by: next.id,
      valid: { to: next.valid.from },
    });
    await expect(note("The gate code is 3333.", { supersedes: old.id })).rejects.toMatchObject({ slug: "conflict" });
    const listed = async (superseded: boolean) =>
      (await fixture.call(listEntries, { superseded })).items.map(({ id }) => id).includes(old.id);
    expect([await listed(false), await listed(true)]).toEqual([false, true]);
    // Forgetting the newer one does not bring the older one back.
    await fixture.call(forgetEntry, { id: next.id });
    expect((await find("gate code")).results).toEqual([]);
  });

  it("trust is the least of the lineage, and no claim raises it", async () => {
    const web = await note("The moon is made of cheese.", { source: "https://example.org/moon" });
    expect(web.trust).toBe("untrusted");
    const laundered = [
      await note("As I said: the moon is cheese.", { supersedes: web.id, trust: "user" }),
      await note("My own thought about cheese on the moon.", { derived_from: [web.id], trust: "user" }),
    ];
    expect(laundered.map(({ trust }) => trust)).toEqual(["untrusted", "untrusted"]);
    const cited = await note("Word for word: cheese, moon.", { source: `aether:memory/${web.id}#L1`, trust: "user" });
    expect(cited.trust).toBe("untrusted");
    const third = await note("A cheese moon, third hand.", { derived_from: [laundered[1]?.id], trust: "user" });
    expect(third.trust).toBe("untrusted");
    expect((await note("An agent's cheese.", { trust: "user" }, { as: aurora })).trust).toBe("agent");
    expect((await note("Made by a job.", { derived_from: ["artifact:art_1"] })).trust).toBe("tool");
    const job_id = "job_01kas4f8m0w3v5x7z9b2d4f6h8";
    expect((await note("Printed by a job.", { job_id, trust: "user" })).trust).toBe("tool");
    expect((await note("I doubt this cheese myself.", { trust: "untrusted" })).trust).toBe("untrusted");
    expect((await find("cheese moon", { min_trust: "user" })).results).toEqual([]);
    await expect(note("Of nothing.", { derived_from: ["mem_01kas4f8m2d6f8h0k3n5q7s9v1"] })).rejects.toMatchObject({
      slug: "not-found",
    });
  });

  it("one's memory is nobody else's: not found, not listed, not in a score, not to derive from", async () => {
    const mine = await note("The zanzibar ledger is under the stairs.");
    const theirs = await note("My zanzibar trip was wonderful.", {}, { as: ben });
    const before = await find("zanzibar", {}, { as: ben });
    await Promise.all(Array.from({ length: 20 }, (_, i) => note(`zanzibar zanzibar number ${i}`)));
    const after = await find("zanzibar", {}, { as: ben });
    expect(after.results).toEqual(before.results);
    expect(after.results.map(({ id }) => id)).toEqual([theirs.id]);
    await expect(find("zanzibar", { owner: "user:1000" }, { as: ben })).rejects.toMatchObject({ slug: "not-found" });
    await expect(fixture.call(listEntries, { owner: "user:1000" }, { as: ben })).rejects.toMatchObject({
      slug: "not-found",
    });
    await expect(note("x of ledger", { derived_from: [mine.id] }, { as: ben })).rejects.toMatchObject({
      slug: "not-found",
    });
    await expect(note("y of ledger", { supersedes: mine.id }, { as: ben })).rejects.toMatchObject({
      slug: "not-found",
    });
    fixture.policy.answer = (asked) =>
      asked.resource.owner === "user:1000" && asked.principal.id === "1001"
        ? { ...allow, outcome: "deny", visible: false }
        : { ...allow, scope: "all" };
    await expect(fixture.call(getEntry, { id: mine.id }, { as: ben })).rejects.toMatchObject({ slug: "not-found" });
    await expect(fixture.call(forgetEntry, { id: mine.id }, { as: ben })).rejects.toMatchObject({ slug: "not-found" });
    // Who may read everybody's says whose.
    expect((await find("ledger", { owner: "user:1000" }, { as: ben })).results[0]?.id).toBe(mine.id);
    fixture.policy.answer = () => allow;
    expect((await find("ledger")).results[0]?.id).toBe(mine.id);
  });

  it("filters hold, also for what is found only beside a hit", async () => {
    const turns = [
      ["Cara", "Did you reach Lisbon?", "2026-03-01T10:00:00Z", {}],
      ["Dov", "Yes, the boxes come on Thursday.", "2026-03-01T10:01:00Z", { by: "sea" }],
      ["Cara", "Good.", "2026-05-01T10:02:00Z", {}],
    ] as const;
    for (const [author, text, valid_from, labels] of turns)
      await note(text, { author, valid_from, labels, thread: "move" });
    const texts = async (more: object) =>
      (await find("Lisbon", { thread: "move", ...more })).results.map(({ citation }) => citation.quote);
    expect((await texts({})).toSorted()).toEqual(turns.map(([, text]) => text).toSorted());
    expect(await texts({ author: "Dov" })).toEqual([]);
    expect(await texts({ label: ["by=sea"] })).toEqual([]);
    expect(await texts({ before: "2026-04-01T00:00:00Z" })).toEqual([turns[0][1], turns[1][1]]);
    expect(await texts({ kind: "document" })).toEqual([]);
  });

  it("what has expired or does not hold yet is not found, and what has expired is forgotten", async () => {
    const made = await note("The parking ticket is valid today.", { expires_at: "2026-01-01T00:00:00Z" });
    await note("The parking fee rises.", { valid_from: "2999-01-01T00:00:00Z" });
    expect((await find("parking")).results).toEqual([]);
    await service[Symbol.asyncDispose]();
    service = await fixture.start();
    await find("parking");
    await expect(fixture.call(getEntry, { id: made.id })).rejects.toMatchObject({
      problem: { detail: expect.stringMatching(/^forgotten at/) },
    });
  });

  it("a question is words and never syntax", async () => {
    const made = await note('He said "quote" AND left* (quickly) NEAR the ^door: title.');
    const questions = [
      '"',
      '""',
      "quote AND",
      "NOT door",
      "door OR",
      "NEAR(door quickly)",
      "title:door",
      "{title body}: door",
    ];
    questions.push(
      "door*",
      "^door",
      "(door",
      "door)",
      "door'; DROP TABLE entry; --",
      "-door",
      "+door",
      "\u0000door",
      "🚪 door",
      "a",
      "'",
    );
    for (const q of questions) await find(q);
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const parts = [
      "door",
      "AND",
      "OR",
      "NOT",
      "NEAR",
      "(",
      ")",
      '"',
      "'",
      "*",
      "^",
      ":",
      "{",
      "}",
      "+",
      "-",
      ",",
      "\\",
      "%",
      "\n",
      "ß",
      "日本",
      "\u0301",
    ];
    for (let i = 0; i < 300; i++) {
      const q = Array.from({ length: 1 + random(9) }, () => parts[random(parts.length)]).join(random(2) ? " " : "");
      const { results } = await find(q);
      expect(results.length, q).toBeLessThanOrEqual(10);
    }
    expect((await find('"quote" AND (door')).results[0]?.id).toBe(made.id);
  });

  it("what is not text, not one's own file or not a file at all is refused and stores nothing", async () => {
    const at = (name: string) => join(fixture.folder, name);
    writeFileSync(at("binary"), Buffer.from([0x66, 0xff, 0x66]));
    writeFileSync(at("paper.pdf"), "%PDF-1.7\n");
    writeFileSync(at("large.txt"), "word ".repeat(200_000));
    writeFileSync(at("escape.txt"), "a \u001b[31mred\u001b[0m word");
    symlinkSync(at("guide.md"), at("link"));
    mkdirSync(at("folder"));
    spawnSync("mkfifo", [at("fifo")]);
    const before = (await fixture.call(listEntries, {})).items[0]?.id;
    for (const path of [
      ...["binary", "large.txt", "escape.txt", "link", "folder", "fifo", "nothing"].map(at),
      "/dev/zero",
    ]) {
      await expect(fixture.call(addEntry, { kind: "document", path }), path).rejects.toMatchObject({
        slug: "invalid-request",
      });
    }
    for (const as of [ben, aurora])
      await expect(fixture.call(addEntry, { kind: "document", path: at("guide.md") }, { as })).rejects.toMatchObject({
        slug: "invalid-request",
      });
    // Nobody lends here, and nobody runs jobs.
    const artifact = createId("art");
    for (const from of [{ artifact }, { path: at("paper.pdf") }])
      await expect(fixture.call(addEntry, { kind: "document", ...from })).rejects.toMatchObject({
        slug: "unavailable",
      });
    expect((await fixture.call(listEntries, {})).items[0]?.id).toBe(before);
  });

  it("lists and answers end where the bus could not carry them, and lists go on from there", async () => {
    const labels = Object.fromEntries(Array.from({ length: 32 }, (_, i) => [`key-${i}`, `"${"v".repeat(250)}"`]));
    const words = 'albatross "quoted" words '.repeat(70);
    const made = await Promise.all(
      Array.from({ length: 60 }, (_, i) => note(`${i} ${words}`, { labels, author: "Fay" })),
    );
    const { results } = await find("albatross", { k: 50 });
    expect(results.length).toBeGreaterThan(10);
    const listed: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page: { items: { id: string }[]; next_cursor: string | null } = await fixture.call(listEntries, {
        ...{ author: "Fay", limit: 500 },
        ...(cursor !== "" && { cursor }),
      });
      listed.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor;
    }
    expect(listed).toEqual(
      made
        .map(({ id }) => id)
        .toSorted()
        .toReversed(),
    );
  });

  it("forgetting leaves not a byte of it, in the stream or in the view, and is told again when asked again", async () => {
    const secret = "xylophonequokka";
    const about = { title: `About ${secret}`, labels: { of: secret }, author: secret, thread: secret };
    const made = await note(`The ${secret} lies there.`, about, { idempotencyKey: "forgettable" });
    await note("A neighbour that stays.");
    expect((await find(secret)).results).toHaveLength(1);
    const gone = await fixture.call(forgetEntry, { id: made.id });
    expect(gone).toMatchObject({ id: made.id, forgotten_by: "user:1000" });
    expect(await fixture.call(forgetEntry, { id: made.id })).toEqual(gone);
    expect((await find(secret)).results).toEqual([]);
    const retry = note(`The ${secret} lies there.`, about, { idempotencyKey: "forgettable" });
    await expect(retry).rejects.toMatchObject({ slug: "conflict" });
    await expect(fixture.call(getEntry, { id: made.id })).rejects.toMatchObject({ slug: "not-found" });
    const places = [join(fixture.nats.keysDir, "../store"), join(fixture.folder, "views")];
    for (const place of places) expect(filesWith(place, secret), place).toEqual([]);
    expect(
      filesWith(places[0] ?? "", "neighbour that stays").length,
      "the stream's files are looked at",
    ).toBeGreaterThan(0);
    expect(filesWith(places[1] ?? "", "neighbour that stays").length, "the view's files are looked at").toBeGreaterThan(
      0,
    );
  });
});

function filesWith(folder: string, text: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => readFileSync(file).includes(text));
}
