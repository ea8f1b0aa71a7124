// What is left of memory when its process is killed at any moment, and when its views are lost.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import {
  addEntry,
  forgetEntry,
  getEntry,
  healthOperation,
  limits,
  listEntries,
  type MemoryEntry,
  searchMemory,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ownerToken } from "../src/store.ts";
import { type Fixture, startFixture } from "./_fixture.ts";

const missing = requireBackend("nats");
const main = join(import.meta.dirname, "../src/main.ts");

describe.skipIf(missing)(`memory after a loss${missing ? `: ${missing}` : ""}`, () => {
  let fixture: Fixture;
  beforeAll(async () => {
    fixture = await startFixture();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  function start(views: string): ChildProcess {
    const command = ["--pdeathsig", "KILL", "--", process.execPath, main];
    return spawn("setpriv", command, { env: fixture.environment(views), stdio: ["ignore", "ignore", "inherit"] });
  }
  const up = () =>
    waitFor("memory to answer", () => fixture.call(healthOperation("memory"), {}).catch(() => null), 20_000);
  async function end(child: ChildProcess): Promise<void> {
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  async function all(): Promise<MemoryEntry[]> {
    const items: MemoryEntry[] = [];
    let cursor: string | null = null;
    do {
      const page: { items: MemoryEntry[]; next_cursor: string | null } = await fixture.call(listEntries, {
        ...{ superseded: true, limit: limits.pageMax },
        ...(cursor !== null && { cursor }),
      });
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor !== null);
    return items;
  }

  it("every acknowledged write is there and none is half there, however often it or nats-server is killed", async () => {
    let child = start("killed");
    await up();
    const kept = new Map<string, string>();
    const gone = new Set<string>();
    let next = 0;
    let writing = true;
    const write = async () => {
      while (writing) {
        const n = next++;
        const key = `write-${n}`;
        const text = n % 5 === 0 ? `# Part ${n}\n\n${`alpha${n} beta gamma `.repeat(2_000)}\n` : `alpha${n} is a note`;
        const kind = n % 5 === 0 ? "document" : "note";
        const made = await waitFor(
          `write ${n} to be acknowledged`,
          () => fixture.call(addEntry, { kind, text }, { idempotencyKey: key, timeoutMs: 2_000 }).catch(() => null),
          20_000,
        );
        kept.set(made.id, text);
        if (n % 7 === 0) {
          await waitFor(
            "it to be forgotten",
            () => fixture.call(forgetEntry, { id: made.id }, { timeoutMs: 2_000 }).catch(() => null),
            20_000,
          );
          kept.delete(made.id);
          gone.add(made.id);
        }
      }
    };
    const writers = Array.from({ length: 4 }, write);
    for (let kill = 0; kill < 5; kill++) {
      const before = next;
      await waitFor("some writes", () => next > before + 20, 20_000);
      if (kill === 2) {
        await fixture.nats.restart();
        continue;
      }
      await end(child);
      child = start("killed");
      await up();
    }
    await waitFor("two hundred writes", () => next >= 200, 30_000);
    writing = false;
    await Promise.all(writers);
    const listed = new Set((await all()).map(({ id }) => id));
    expect([...kept.keys()].filter((id) => !listed.has(id))).toEqual([]);
    expect([...listed].filter((id) => !kept.has(id))).toEqual([]);
    for (const [id, text] of kept) expect((await fixture.call(getEntry, { id })).text).toBe(text);
    for (const id of gone) await expect(fixture.call(getEntry, { id })).rejects.toMatchObject({ slug: "not-found" });
    await end(child);
  }, 120_000);

  it("views made anew from nothing equal those that grew with the writes", async () => {
    const grown = await fixture.start("killed");
    const made = await fixture.call(addEntry, {
      kind: "note",
      text: "The kettle sings.",
      thread: "tea",
      labels: { a: "b" },
    });
    await fixture.call(addEntry, { kind: "note", text: "The kettle is mute.", supersedes: made.id });
    const gone = await fixture.call(addEntry, {
      kind: "note",
      text: "The kettle is lost.",
      supersedes: (await all())[0]?.id,
    });
    await fixture.call(forgetEntry, { id: gone.id });
    const answer = async () => [
      await all(),
      (await fixture.call(searchMemory, { q: "alpha3 kettle beta", k: 50 })).results,
    ];
    const before = await answer();
    await grown[Symbol.asyncDispose]();
    const anew = await fixture.start("anew");
    expect(await answer()).toEqual(before);
    await anew[Symbol.asyncDispose]();
    const [old, fresh] = ["killed", "anew"].map((views) => dump(join(fixture.folder, views)));
    expect(fresh).toEqual(old);
    expect(old?.passage?.length).toBeGreaterThan(200);
  }, 60_000);
});

/** Every table's rows, without how far the file has read. */
function dump(folder: string): Record<string, unknown[]> {
  using database = new DatabaseSync(join(folder, `${ownerToken("user:1000")}.sqlite`), { readOnly: true });
  const tables = ["entry", "label", "forgotten", "passage", "passage_text"];
  return Object.fromEntries(tables.map((name) => [name, database.prepare(`SELECT * FROM ${name} ORDER BY 1`).all()]));
}
