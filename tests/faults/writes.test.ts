// SIGKILL during mixed writes: what was acknowledged is there, whole and once, and nothing else is, not even bytes without a
// name; the views are what the streams say; and every change of state has its event.
import { existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { objectSubject, openBucket } from "@aether/bus";
import type { CloudEvent } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { type Aether, startAether } from "../_aether.ts";
import { jobFaults, openWitness, type Witness } from "../_checker.ts";
import { type Ledger, sha256, startWrites, wordOf } from "./_writes.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const targets = ["artifacts", "memory", "events", "nats"] as const;
const writes = 200;
const kills = 3;
const views = ["artifacts.sqlite", "memory", "events.sqlite"];

describe.skipIf(missing)(`killed during mixed writes${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let witness: Witness;
  const rounds = new Map<string, Ledger>();

  beforeAll(async () => {
    aether = await startAether({ supervised: true });
    witness = await openWitness(aether);
  });
  afterAll(async () => {
    await witness[Symbol.asyncDispose]();
    await aether[Symbol.asyncDispose]();
  });

  const kill = (target: (typeof targets)[number]) =>
    target === "nats" ? aether.nats.restart() : aether.programs[target].kill();

  it.each(targets)("%s", { timeout: 120_000 }, async (target) => {
    const begun = startWrites(aether, target, writes);
    const over = begun.over.catch((error: unknown) => ({ error }));
    const at = Array.from({ length: kills }, (_, i) => Math.floor(((i + Math.random()) * (writes - 40)) / kills) + 10);
    const context = `${target} killed after ${at.join(", ")} writes`;
    for (const after of at) {
      await waitFor(`${after} writes`, () => begun.done >= after || toTell(begun.ledger.retries), 30_000);
      await kill(target);
    }
    expect(await over, context).toBeUndefined();
    await aether.ready();
    rounds.set(target, begun.ledger);
    expect(begun.ledger.retries.length, `${context}: nothing met it`).toBeGreaterThan(0);
    expect(await artifactFaults(target, begun.ledger), context).toEqual([]);
    expect(await memoryFaults(target, begun.ledger), context).toEqual([]);
    expect(await emitted(target), context).toEqual([...begun.ledger.events].sort(bySequence));
    for (const id of begun.ledger.jobs.keys())
      expect(await jobFaults(aether, witness, id), `${context}: ${id}`).toEqual([]);
  });

  it("every artifact and every entry has its events, once, and nothing else has", async () => {
    const verbs = ["artifact.created", "artifact.deleted", "memory.added", "memory.forgotten"];
    const type = verbs.map((verb) => `dev.aether.${verb}.v1`);
    const told = (await eventsOf({ type, source: "/system" })).map((event) => `${event.type} ${event.subject}`);
    const ledgers = [...rounds.values()];
    const due = ledgers.flatMap(({ artifacts, removed, entries, forgotten }) => [
      ...[...artifacts.keys(), ...removed].map((id) => `${type[0]} ${id}`),
      ...[...removed].map((id) => `${type[1]} ${id}`),
      ...[...entries.keys(), ...forgotten.keys()].map((id) => `${type[2]} ${id}`),
      ...[...forgotten.keys()].map((id) => `${type[3]} ${id}`),
    ]);
    expect(told.sort()).toEqual(due.sort());
    expect(due.length).toBeGreaterThan(200);
  });

  it("no bytes are kept that no record names", async () => {
    await aether.programs.artifacts.kill();
    await aether.ready();
    expect(await storedChunks()).toEqual(await namedChunks());
    expect(witness.faults).toEqual([]);
  });

  it("every entry has one message", async () => {
    const kept = [...rounds.values()].flatMap(({ entries, forgotten }) => [...entries.keys(), ...forgotten.keys()]);
    await using bus = await aether.connect("ops");
    const info = await bus.jsm.streams.info("MEMORY", { subjects_filter: "aether.memory.v0.*.*" });
    const counts = Object.entries(info.state.subjects ?? {}).map(([subject, count]) => [
      subject.split(".").at(-1),
      count,
    ]);
    expect(counts.sort()).toEqual(kept.map((id) => [id, 1]).sort());
  });

  it("views that are made anew are the old ones", { timeout: 60_000 }, async () => {
    const answers = await answersOf();
    const folder = join(aether.home, "old");
    mkdirSync(folder);
    for (const name of ["artifacts", "memory", "events"] as const) {
      await aether.programs[name].kill();
      // Its supervisor starts it again only after this.
      for (const file of readdirSync(aether.home).filter((one) => views.some((view) => one.startsWith(view))))
        if (file.startsWith(name)) renameSync(join(aether.home, file), join(folder, file));
    }
    await aether.ready();
    expect(await waitFor("all to be read anew", answersOf, 30_000)).toEqual(answers);
    const [before, after] = [rowsOf(folder), rowsOf(aether.home)];
    expect(Object.keys(before).length).toBeGreaterThanOrEqual(8);
    expect(after).toEqual(before);
  });

  async function artifactsOf(round: string) {
    const items = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await aether.client.artifacts.list({ label: [`round=${round}`], ...(cursor && { cursor }) });
      items.push(...page.items);
      cursor = page.next_cursor;
    }
    return items;
  }

  /** Lists are compared with the ledger, and each artifact's bytes with its digest, by their content and by their file. */
  async function artifactFaults(round: string, { artifacts, jobs }: Ledger): Promise<string[]> {
    const listed = await artifactsOf(round);
    for (const job_id of jobs.keys()) listed.push(...(await aether.client.artifacts.list({ job_id })).items);
    const faults = compare(
      listed.map(({ id, name, sha256: digest }) => `${name} ${id} ${digest}`),
      [...artifacts].map(([id, { name, sha256: digest }]) => `${name} ${id} ${digest}`),
    );
    for (const { id, sha256: digest } of listed) {
      const parts: Uint8Array[] = [];
      for await (const part of (await aether.client.artifacts.content(id)).body) parts.push(part);
      if (sha256(Buffer.concat(parts)) !== digest) faults.push(`${id} has other bytes`);
    }
    if (jobs.size === 0) faults.push("no job had an output");
    return faults;
  }

  async function entriesOf(round: string) {
    const items = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const filter = { label: [`round=${round}`], superseded: true, limit: 100 };
      const page = await aether.client.memory.list({ ...filter, ...(cursor && { cursor }) });
      items.push(...page.items);
      cursor = page.next_cursor;
    }
    return items;
  }

  async function memoryFaults(round: string, { entries, forgotten }: Ledger): Promise<string[]> {
    const listed = await entriesOf(round);
    const faults = compare(
      listed.map(({ id, provenance }) => `${id} for ${provenance.supersedes}`),
      [...entries].map(([id, { supersedes }]) => `${id} for ${supersedes}`),
    );
    const successors = new Map([...entries].map(([id, { supersedes }]) => [supersedes, id]));
    for (const [id, supersedes] of forgotten) successors.set(supersedes, id);
    for (const { id, superseded_by } of listed) {
      const { text } = await aether.client.memory.get(id);
      if (text !== entries.get(id)?.text) faults.push(`${id} has another text`);
      if (superseded_by !== (successors.get(id) ?? null)) faults.push(`${id} is superseded by ${superseded_by}`);
    }
    for (let number = 0; number < writes; number++) {
      const word = wordOf(round, number);
      const current = listed.filter(
        ({ id, superseded_by }) => !superseded_by && entries.get(id)?.text.includes(`${word},`),
      );
      const { results } = await aether.client.memory.search({ q: word, k: 3 });
      const found = new Set(results.filter(({ snippet }) => snippet.includes(word)).map(({ id }) => id));
      faults.push(
        ...compare(
          [...found],
          current.map(({ id }) => id),
        ).map((fault) => `search for ${word}: ${fault}`),
      );
    }
    for (const id of forgotten.keys())
      if ((await aether.client.memory.get(id).catch((error) => error.slug)) !== "not-found")
        faults.push(`${id} was forgotten and can be read`);
    return faults;
  }

  async function eventsOf(filter: Parameters<typeof aether.client.events.read>[0]): Promise<CloudEvent[]> {
    const events: CloudEvent[] = [];
    for await (const batch of aether.client.events.read(filter)) events.push(...batch);
    return events;
  }

  const emitted = async (round: string) =>
    (await eventsOf({ type: [`com.example.${round}`] })).map(({ id, sequence }) => [id, sequence]);

  /** What lists, searches and reads say of everything. */
  async function answersOf() {
    const found = [];
    for (const round of targets) {
      const { results } = await aether.client.memory.search({ q: `what is kept of ${round}`, k: 20 });
      found.push(await artifactsOf(round), await entriesOf(round), results);
    }
    return { found, events: await eventsOf({}) };
  }

  /** How many messages each object of ARTIFACTS has. */
  async function storedChunks(): Promise<Record<string, number>> {
    await using bus = await aether.connect("ops");
    const info = await bus.jsm.streams.info("ARTIFACTS", { subjects_filter: `${objectSubject}.*` });
    const counts = Object.entries(info.state.subjects ?? {});
    return Object.fromEntries(counts.map(([subject, count]) => [subject.slice(objectSubject.length + 1), count]));
  }

  /** The same as the records say. */
  async function namedChunks(): Promise<Record<string, number>> {
    await using bus = await aether.connect("artifacts");
    const bucket = openBucket(bus, "artifacts", z.looseObject({ object: z.string(), chunks: z.int() }));
    const chunks: Record<string, number> = {};
    for (const ledger of rounds.values())
      for (const id of ledger.artifacts.keys()) {
        const { object = "", chunks: count = 0 } = (await bucket.get(id))?.value ?? {};
        if (count > 0) chunks[object] = count;
      }
    return chunks;
  }
});

/** For whoever waits in vain: what has failed last. */
function toTell(retries: string[]): never {
  throw new Error(retries.slice(-8).join("; "));
}

const bySequence = ([, a]: [string, string], [, b]: [string, string]) => (a < b ? -1 : 1);

/** What is there and was not acknowledged, or the other way round. */
function compare(there: string[], acknowledged: string[]): string[] {
  const twice = there.filter((one, index) => there.indexOf(one) !== index).map((one) => `${one} is there twice`);
  const extra = there.filter((one) => !acknowledged.includes(one)).map((one) => `${one} was not acknowledged`);
  const lost = acknowledged.filter((one) => !there.includes(one)).map((one) => `${one} is lost`);
  return [...twice, ...extra, ...lost];
}

/** Every row of every table of every view in a folder; how an index lies on disk is its own affair. */
function rowsOf(folder: string): Record<string, string[]> {
  const files = ["artifacts.sqlite", "events.sqlite"].map((name) => join(folder, name));
  const memory = join(folder, "memory");
  files.push(
    ...readdirSync(memory)
      .filter((name) => name.endsWith(".sqlite"))
      .map((name) => join(memory, name)),
  );
  const rows: Record<string, string[]> = {};
  for (const file of files.filter(existsSync)) {
    using database = new DatabaseSync(file, { readOnly: true });
    for (const { name, type } of database.prepare("PRAGMA main.table_list").all()) {
      if (type === "shadow" || name === "view" || name === "sqlite_schema") continue;
      const all = database.prepare(`SELECT * FROM "${name}"`).all();
      rows[`${file.slice(folder.length)} ${name}`] = all.map((row) => JSON.stringify(row)).sort();
    }
  }
  return rows;
}
