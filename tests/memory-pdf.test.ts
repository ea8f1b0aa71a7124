// PDF documents, from the file of an ordinary user to a citation that names the page; hostile ones, which a job reads and whose
// limits hold; and that nothing of it stays.
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Artifact, type AuditRecord, type Citation, type MemoryEntry, Problem } from "@aether/contracts";
import { requireBackend, tempDir } from "@aether/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl } from "./_curl.ts";
import { makePdf } from "./_pdf.ts";

const missing =
  requireBackend("nats") ??
  requireBackend("bubblewrap") ??
  (process.getuid?.() === 0 ? null : "other users need root") ??
  requireBackend("pdftotext");
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_021, gid: memberGroup.gid };
const ben = { uid: 41_022, gid: memberGroup.gid };

const refusal = (answer: Answer) => {
  const { type, detail = "" } = Problem.parse(JSON.parse(answer.body));
  return [answer.status, type.replace("urn:aether:problem:", ""), detail] as const;
};

describe.skipIf(missing)(`PDF documents${missing ? `: ${missing}` : ""}`, { timeout: 60_000 }, () => {
  let aether: Aether;
  let root: Curl;
  let adas: Curl;
  const folder = tempDir();
  const write = (name: string, bytes: Buffer) => {
    const path = join(folder.path, name);
    writeFileSync(path, bytes, { mode: 0o600 });
    chownSync(path, ada.uid, ada.gid);
    return path;
  };
  const keep = (path: string, as = adas) => as.post("/v0/memory/entries", { kind: "document", path });
  const kept = async (path: string) => {
    const answer = await keep(path);
    expect(answer.status, answer.body).toBe(201);
    return JSON.parse(answer.body) as MemoryEntry;
  };
  const cited = async (q: string) => {
    const { results } = JSON.parse((await adas.get(`/v0/memory/search?q=${encodeURIComponent(q)}`)).body) as {
      results: { citation: Citation }[];
    };
    return results[0]?.citation;
  };

  beforeAll(async () => {
    chmodSync(folder.path, 0o755);
    aether = await startAether({ environment: { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name } } });
    root = createCurl(aether.socket);
    adas = root.as(ada);
  });
  afterEach(async () => {
    const { items } = JSON.parse((await root.get("/v0/artifacts?limit=500")).body) as { items: Artifact[] };
    expect(items.filter(({ owner }) => owner === "service:memory")).toEqual([]);
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  it("are cited by page and by lines of their text, as their reader may read them", async () => {
    const bytes = makePdf(["The title page", "The heron waits.\nIt is patient.", "", "The kingfisher dives."]);
    const path = write("birds.pdf", bytes);
    const made = await kept(path);
    expect(made).toMatchObject({ title: "The title page", source: `file://${path}`, trust: "user" });
    const heron = await cited("heron");
    expect(heron).toMatchObject({ uri: `file://${path}#page=2`, ref: `${path}#page=2`, state: "fresh" });
    expect(heron?.quote).toBe("The heron waits.\nIt is patient.");
    const [first = 0, last = 0] = heron?.lines ?? [];
    const opened = await adas.get(`/v0/memory/entries/${made.id}?lines=${first}-${last}`);
    const { text, citation } = JSON.parse(opened.body) as { text: string; citation: Citation };
    expect(text.replace("\f", "")).toBe(heron?.quote);
    expect(citation.ref).toBe(`${path}#page=2`);
    expect((await cited("kingfisher"))?.ref).toBe(`${path}#page=4`);
    expect(refusal(await keep(path, root.as(ben)))).toEqual([400, "invalid-request", "path: you may not read it"]);
    write("birds.pdf", makePdf(["The heron waits."]));
    expect(await cited("heron")).toMatchObject({ state: "stale", ref: `${path}#page=2` });
    execFileSync("rm", [path]);
    expect(await cited("heron")).toMatchObject({ state: "missing" });
  });

  it("of a thousand pages are found on theirs; of more than two thousand are refused", async () => {
    const pages = (count: number) => Array.from({ length: count }, (_, i) => `Page of pelican number${i + 1}.`);
    const path = write("long.pdf", makePdf(pages(1_000)));
    await kept(path);
    expect((await cited("number777"))?.ref).toBe(`${path}#page=777`);
    expect((await cited("number1000"))?.ref).toBe(`${path}#page=1000`);
    const answer = refusal(await keep(write("longer.pdf", makePdf(pages(2_001)))));
    expect(answer).toEqual([400, "invalid-request", "path: the PDF has more than 2000 pages"]);
  });

  it("that are artifacts are cited as these, for as long as they are there", async () => {
    const put = await adas.post("/v0/artifacts", { path: write("art.pdf", makePdf(["one", "The bittern booms."])) });
    const { id } = JSON.parse(put.body) as Artifact;
    expect((await adas.post("/v0/memory/entries", { kind: "document", artifact: id })).status).toBe(201);
    expect(await cited("bittern")).toMatchObject({ ref: `artifact:${id}#page=2`, state: "fresh" });
  });

  it("that are broken, closed or empty are refused", async () => {
    const whole = makePdf(["Some words."]);
    const broken = "path: the PDF is damaged or encrypted; send its text";
    expect(refusal(await keep(write("cut.pdf", whole.subarray(0, 60))))[2]).toBe(broken);
    expect(refusal(await keep(write("noise.pdf", Buffer.from(`%PDF-1.7\n${"\u0000ÿ".repeat(9_999)}`))))[2]).toBe(
      broken,
    );
    expect(refusal(await keep(write("closed.pdf", makePdf(["Secret."], { encrypted: true }))))[2]).toBe(broken);
    expect(refusal(await keep(write("blank.pdf", makePdf([""]))))[2]).toBe(
      "path: the PDF has no text: its pages are pictures",
    );
  });

  it("that unfold to more than there is room for are refused, and the system goes on", async () => {
    const content = Buffer.alloc(150 * 1024 * 1024, "BT /F1 12 Tf 9 9 Td (bomb) Tj ET\n");
    const bomb = makePdf(["", ""], { content });
    expect(bomb.length).toBeLessThan(2 * 1024 * 1024);
    const [status, type, detail] = refusal(await keep(write("bomb.pdf", bomb)));
    expect([status, type]).toEqual([400, "invalid-request"]);
    expect(detail).toMatch(/takes too much time or memory|bytes of text|damaged/);
    await kept(write("after.pdf", makePdf(["The system goes on."])));
  });

  it("are read by jobs of memory's own, which are recorded and are nobody else's", async () => {
    const query = "/v0/audit?actor=service:memory&action=submit_job";
    const { items } = JSON.parse((await root.get(query)).body) as { items: AuditRecord[] };
    expect(items.length).toBeGreaterThan(0);
    expect(items.every(({ decision }) => decision?.outcome === "allow")).toBe(true);
    expect((await adas.get(`/v0/jobs/${items[0]?.job_id}`)).status).toBe(404);
  });

  it("are refused with the command that helps where there is no pdftotext", async () => {
    const environment = { memory: { AETHER_MEMORY_PDFTOTEXT: "pdftotext-of-nowhere" } };
    await using other = await startAether({ environment });
    const answer = await keep(write("any.pdf", makePdf(["Any."])), createCurl(other.socket));
    expect(refusal(answer)).toEqual([
      ...[503, "unavailable"],
      "PDF needs pdftotext; run as root: apt-get install -y poppler-utils",
    ]);
  });
});
