// The whole story from curl alone: a job reads an artifact and leaves two, a note and a document cite what it left, and one
// intent is found again on all of it.
import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Artifact, createId, type Job, type MemoryEntry, type MemoryHit } from "@aether/contracts";
import { requireBackend } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl, urlOf } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const report = `# Yield of the mill

The mill ground for nine hours.

## Flour

Eleven sacks of rye flour were filled.
`;

describe.skipIf(missing)(`the whole story from curl${missing ? `: ${missing}` : ""}`, () => {
  const intent = createId("int");
  const named = ["-H", `Aether-Intent-Id: ${intent}`];
  let aether: Aether;
  let curl: Curl;
  let input: Artifact;
  let job: Job;
  let path: string;

  beforeAll(async () => {
    aether = await startAether();
    curl = createCurl(aether.socket);
    path = join(aether.home, "yield.md");
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  const get = async <T>(route: string) => as<T>(await curl.get(route));
  const items = async <T>(route: string) => (await get<{ items: T[] }>(route)).items;
  const cited = async (q: string, id: string) => {
    const { results } = await get<{ results: MemoryHit[] }>(`/v0/memory/search?k=5&q=${encodeURIComponent(q)}`);
    return results.find((hit) => hit.id === id)?.citation;
  };

  it("a job reads an artifact and leaves two, which are its bytes at their paths", async () => {
    const upload = ["-X", "PUT", "--data-binary", report];
    input = as(await curl.run(...named, ...upload, urlOf("/v0/artifacts/content?name=yield.md&type=text/markdown")));
    const answer = await curl.post(
      "/v0/jobs?wait=30s",
      {
        command: ["sh", "-c", "cat /inputs/yield.md >/outputs/yield.md; wc -w </inputs/yield.md >/outputs/words"],
        inputs: [{ artifact: input.id, path: "/inputs/yield.md" }],
        resources: { cpus: 0.5, memory: "64MiB", disk: "64MiB" },
      },
      ...named,
    );
    job = as<Job>(answer);
    expect(job).toMatchObject({ state: "succeeded", message: null, intent_id: intent });
    const outputs = await items<Artifact>(`/v0/artifacts?job_id=${job.id}`);
    expect(outputs.map(({ name }) => name).sort()).toEqual(["words", "yield.md"]);
    for (const { id, name, sha256 } of outputs) {
      const file = (await get<Artifact>(`/v0/artifacts/${id}`)).path ?? "";
      expect(readFileSync(file, "utf8")).toBe(name === "words" ? "20\n" : report);
      expect(execFileSync("sha256sum", [file], { encoding: "utf8" }).split(" ")[0]).toBe(sha256);
    }
    copyFileSync(await placeOf("yield.md"), path);
  });

  it("a note and a document that cite what it left are found, and open at the right lines", async () => {
    const source = `file://${path}`;
    const note = await keep({ kind: "note", text: "Eleven sacks of rye flour were filled.", source });
    const document = await keep({ kind: "document", path });
    for (const id of [note.id, document.id]) {
      const citation = await cited("how many sacks of rye flour", id);
      expect(citation).toMatchObject({ state: "fresh", uri: source, sha256: input.sha256 });
      const [first = 0, last = 0] = citation?.lines ?? [];
      expect(linesOf(first, last)).toContain("Eleven sacks of rye flour were filled.");
      expect(citation?.ref).toBe(first === last ? `${path}#L${first}` : `${path}#L${first}-L${last}`);
    }
  });

  it("the citation of a passage that moves says so, and where it stands now; of one that goes, that it is stale", async () => {
    const [note, document] = await items<MemoryEntry>(`/v0/memory/entries?intent_id=${intent}`).then((all) => [
      all.find(({ kind }) => kind === "note")?.id ?? "",
      all.find(({ kind }) => kind === "document")?.id ?? "",
    ]);
    writeFileSync(path, `Written by the miller.\n\n${report}`);
    for (const id of [note, document]) {
      const moved = await cited("how many sacks of rye flour", id ?? "");
      expect(moved).toMatchObject({ state: "moved" });
      const [first = 0, last = 0] = moved?.lines ?? [];
      expect(linesOf(first, last)).toContain("Eleven sacks of rye flour were filled.");
    }
    writeFileSync(path, report.replace("Eleven", "Twelve"));
    for (const id of [note, document])
      expect(await cited("how many sacks of rye flour", id ?? "")).toMatchObject({ state: "stale" });
  });

  it("one intent is found again on the job, the artifacts, the entries, the events and in the audit log", async () => {
    const event = { specversion: "1.0", id: "ground", type: "com.example.ground" };
    expect(as(await curl.post("/v0/events", event, ...named))).toMatchObject({ intentid: intent });
    const of = `intent_id=${intent}`;
    expect((await items<Job>(`/v0/jobs?${of}`)).map(({ id }) => id)).toEqual([job.id]);
    const artifacts = await items<Artifact>(`/v0/artifacts?${of}`);
    expect(artifacts.map(({ id }) => id).sort()).toEqual([input.id, ...job.artifacts.map(({ id }) => id)].sort());
    const entries = await items<MemoryEntry>(`/v0/memory/entries?${of}`);
    expect(entries.map(({ provenance }) => provenance.intent_id)).toEqual([intent, intent]);
    const events = (await curl.get(`/v0/events?${of}`)).body.trim().split("\n");
    // In order for each thing, not across things.
    expect(events.map((line) => JSON.parse(line).type).sort()).toEqual([
      "com.example.ground",
      ...Array(3).fill("dev.aether.artifact.created.v1"),
      ...["ended", "started", "starting", "submitted"].map((verb) => `dev.aether.job.${verb}.v1`),
      ...Array(2).fill("dev.aether.memory.added.v1"),
    ]);
    const records = await items<{ action: string; intent_id: string }>(`/v0/audit?${of}&limit=100`);
    const actions = new Set(records.map(({ action }) => action));
    expect([...actions]).toEqual(
      expect.arrayContaining(["submit_job", "put_artifact", "memory_write", "emit_event", "job.succeeded"]),
    );
    expect(new Set(records.map(({ intent_id }) => intent_id))).toEqual(new Set([intent]));
  });

  async function placeOf(name: string): Promise<string> {
    const output = (await items<Artifact>(`/v0/artifacts?job_id=${job.id}`)).find((one) => one.name === name);
    return (await get<Artifact>(`/v0/artifacts/${output?.id}`)).path ?? "";
  }

  const keep = async (entry: object) => as<MemoryEntry>(await curl.post("/v0/memory/entries", entry, ...named));
  /** What an editor shows of the file. */
  const linesOf = (first: number, last: number) =>
    execFileSync("sed", ["-n", `${first},${last}p`, path], { encoding: "utf8" });
});

function as<T>({ status, body }: Answer): T {
  expect(status, body).toBeLessThan(300);
  return JSON.parse(body) as T;
}
