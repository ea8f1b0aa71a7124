// Where memory reads from, as two ordinary users of the host and root: files and artifacts are kept and cited with the rights
// of who asks, and with nobody else's.
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { request } from "@aether/bus";
import {
  type AuditRecord,
  type Citation,
  createId,
  downloadArtifact,
  getArtifact,
  lendArtifact,
  limits,
  type MemoryEntry,
  Problem,
  readChunks,
} from "@aether/contracts";
import { requireBackend, tempDir } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl, urlOf } from "./_curl.ts";

const missing = requireBackend("nats") ?? (process.getuid?.() === 0 ? null : "other users need root");
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_011, gid: memberGroup.gid };
const ben = { uid: 41_012, gid: memberGroup.gid };

const toEntry = (answer: Answer) => {
  expect(answer.status, answer.body).toBe(201);
  return JSON.parse(answer.body) as MemoryEntry;
};
const refusal = (answer: Answer) => {
  const { type, detail } = Problem.parse(JSON.parse(answer.body));
  return [answer.status, type.replace("urn:aether:problem:", ""), detail];
};

describe.skipIf(missing)(`sources of memory${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let root: Curl;
  let adas: Curl;
  let bens: Curl;
  const folder = tempDir();
  const at = (name: string, user = ada) => join(folder.path, String(user.uid), name);
  const write = (name: string, text: string, user = ada) => {
    writeFileSync(at(name, user), text, { mode: 0o600 });
    chownSync(at(name, user), user.uid, user.gid);
    return at(name, user);
  };

  beforeAll(async () => {
    chmodSync(folder.path, 0o755);
    for (const user of [ada, ben]) {
      mkdirSync(at("", user), { mode: 0o755 });
      chownSync(at("", user), user.uid, user.gid);
    }
    const environment = { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name } };
    aether = await startAether({ worker: false, environment });
    root = createCurl(aether.socket);
    [adas, bens] = [root.as(ada), root.as(ben)];
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  const keep = (as: Curl, entry: object) => as.post("/v0/memory/entries", { kind: "document", ...entry });
  const citations = async (as: Curl, q: string, more = "") => {
    const answer = await as.get(`/v0/memory/search?q=${encodeURIComponent(q)}${more}`);
    expect(answer.status, answer.body).toBe(200);
    return (JSON.parse(answer.body) as { results: { citation: Citation }[] }).results.map(({ citation }) => citation);
  };
  const cited = async (as: Curl, q: string, more = "") => (await citations(as, q, more))[0];
  const put = async (as: Curl, text: string, more = "") => {
    const url = urlOf(`/v0/artifacts/content?name=a.md${more}`);
    const answer = await as.run("-X", "PUT", "--data-binary", text, url);
    expect(answer.status, answer.body).toBe(201);
    return (JSON.parse(answer.body) as { id: string }).id;
  };
  const remove = async (as: Curl, id: string) => as.run("-X", "DELETE", urlOf(`/v0/artifacts/${id}`));
  const audited = async (query: string) =>
    (JSON.parse((await root.get(`/v0/audit?${query}`)).body) as { items: AuditRecord[] }).items;

  describe("files", () => {
    it("are kept, and cited, by who may read them and by nobody else", async () => {
      const path = write("diary.md", "# Diary\n\nThe walrus arrived at noon.\n");
      const made = toEntry(await keep(adas, { path }));
      expect(made).toMatchObject({ owner: `user:${ada.uid}`, source: `file://${path}`, trust: "user" });
      expect(await cited(adas, "walrus")).toMatchObject({ state: "fresh", lines: [1, 3], ref: `${path}#L1-L3` });
      const may = [400, "invalid-request"];
      expect(refusal(await keep(bens, { path }))).toEqual([...may, "path: you may not read it"]);
      const words = { kind: "note", text: "The walrus arrived at noon.", source: `file://${path}#L3` };
      expect(refusal(await keep(bens, words))).toEqual([...may, "source: you may not read it"]);
      expect(toEntry(await keep(adas, words)).source).toBe(`file://${path}`);
      const claimed = toEntry(await keep(bens, { text: "A walrus of mine.", source: `file://${path}` }));
      expect(await cited(bens, "walrus")).toMatchObject({ uri: `file://${path}`, state: "missing" });
      expect(claimed.owner).toBe(`user:${ben.uid}`);
    });

    it("are looked up with the rights of who asks, not of who wrote", async () => {
      const path = write("plan.md", "The heron nests by the weir.\n");
      toEntry(await keep(adas, { path }));
      chmodSync(at(""), 0o700);
      try {
        expect(await cited(adas, "heron")).toMatchObject({ state: "fresh" });
        expect(await cited(root, "heron", `&owner=user:${ada.uid}`)).toMatchObject({ state: "fresh" });
        chownSync(path, ben.uid, ben.gid);
        expect(await cited(adas, "heron")).toMatchObject({ state: "missing" });
        expect(await cited(root, "heron", `&owner=user:${ada.uid}`)).toMatchObject({ state: "fresh" });
      } finally {
        chmodSync(at(""), 0o755);
      }
    });

    it("are fresh, moved, stale or missing as they are now", async () => {
      const path = write("log.txt", "one\nthe osprey dived\ntwo\n");
      toEntry(await keep(adas, { kind: "note", text: "Mark the osprey.", source: `file://${path}#L2` }));
      const quote = "the osprey dived";
      expect(await cited(adas, "osprey")).toMatchObject({ state: "fresh", lines: [2, 2], quote });
      write("log.txt", "zero\none\nthe osprey dived\ntwo\n");
      expect(await cited(adas, "osprey")).toMatchObject({
        ...{ state: "moved", lines: [3, 3], bytes: [9, 25], quote, ref: `${path}#L3` },
      });
      write("log.txt", "one\ntwo\n");
      expect(await cited(adas, "osprey")).toMatchObject({ state: "stale", lines: [2, 2], quote });
      rmSync(path);
      expect(await cited(adas, "osprey")).toMatchObject({ state: "missing", quote });
    });

    it("that are links, devices, FIFOs, folders or too large are refused, and no citation follows them", async () => {
      const secret = write("secret", "the lynx sleeps", ben);
      symlinkSync(secret, at("link"));
      symlinkSync("/etc/shadow", at("shadow"));
      execFileSync("mkfifo", ["-m", "666", at("fifo")]);
      write("large", "word ".repeat(limits.memorySourceBytes / 5 + 1));
      for (const [path, why] of [
        [at("link"), "the path is a link"],
        [at("shadow"), "the path is a link"],
        [at("fifo"), "the path is not a regular file"],
        [at("."), "the path is not a regular file"],
        [at("nothing"), "there is no such file"],
        [at("large"), `the file is larger than ${limits.memorySourceBytes} bytes`],
        [secret, "you may not read it"],
        ["/etc/shadow", "you may not read it"],
        ["/dev/zero", "the path is not a regular file"],
        ["/proc/self/environ", "files under /proc are not read"],
      ] as const) {
        expect(refusal(await keep(adas, { path })), path).toEqual([400, "invalid-request", `path: ${why}`]);
      }
      const path = write("swapped", "the lynx sleeps");
      toEntry(await keep(adas, { path }));
      expect(await cited(adas, "lynx")).toMatchObject({ state: "fresh" });
      rmSync(path);
      symlinkSync(secret, path);
      expect(await cited(adas, "lynx")).toMatchObject({ state: "missing" });
      // Root follows nobody's links: not even one in the middle of a path.
      symlinkSync("/etc", at("etc"));
      expect(refusal(await keep(root, { path: at("etc/hostname") }))[2]).toBe("path: a folder of the path is a link");
    });
  });

  describe("artifacts", () => {
    it("are kept with where they are from, and stay fresh as long as they are there", async () => {
      const job = "job_01kas4f8m0w3v5x7z9b2d4f6h8";
      const id = await put(adas, "# Report\n\nThe beaver felled the alder.\n", `&job_id=${job}`);
      const made = toEntry(await keep(adas, { artifact: id, trust: "user" }));
      expect(made).toMatchObject({
        ...{ source: `artifact:${id}`, title: "Report", trust: "tool" },
        provenance: { job_id: job, derived_from: [`artifact:${id}`] },
      });
      const ref = `artifact:${id}#L1-L3`;
      expect(await cited(adas, "beaver")).toMatchObject({ uri: `artifact:${id}`, state: "fresh", lines: [1, 3], ref });
      const note = { kind: "note", text: "Which beaver?", source: `artifact:${id}#L3` };
      expect(toEntry(await keep(adas, note)).trust).toBe("tool");
      expect((await citations(adas, "beaver")).map(({ state }) => state)).toEqual(["fresh", "fresh"]);
      expect((await remove(adas, id)).status).toBe(200);
      expect((await citations(adas, "beaver")).map(({ state }) => state)).toEqual(["missing", "missing"]);
      expect(refusal(await keep(adas, { artifact: id }))[2]).toBe("artifact: there is no such artifact");
    });

    it("of several chunks are read whole, and what is too large or no text is refused", async () => {
      const text = `${"The stork. ".repeat(30_000)}\n`;
      expect(text.length).toBeGreaterThan(limits.chunkBytes);
      const { id } = JSON.parse((await adas.post("/v0/artifacts", { path: write("stork", text) })).body) as {
        id: string;
      };
      expect(toEntry(await keep(adas, { artifact: id }))).toMatchObject({ size_bytes: text.length, lines: 1 });
      const large = write("large", "word ".repeat(limits.memorySourceBytes / 5 + 1));
      const tooLarge = JSON.parse((await adas.post("/v0/artifacts", { path: large })).body) as { id: string };
      const words = `artifact: the artifact is larger than ${limits.memorySourceBytes} bytes`;
      expect(refusal(await keep(adas, { artifact: tooLarge.id }))).toEqual([400, "invalid-request", words]);
      const binary = await put(adas, "\u0001");
      expect(refusal(await keep(adas, { artifact: binary }))[2]).toBe("artifact: must hold text in UTF-8");
    });

    it("of somebody else are not there, for a member and through memory for an operator as well", async () => {
      const id = await put(adas, "The otter is ada's.\n");
      const none = [400, "invalid-request", "artifact: there is no such artifact"];
      expect(refusal(await keep(bens, { artifact: id }))).toEqual(none);
      expect(refusal(await keep(bens, { artifact: createId("art") }))).toEqual(none);
      toEntry(await keep(bens, { text: "An otter, they say.", source: `artifact:${id}` }));
      expect(await cited(bens, "otter")).toMatchObject({ state: "missing" });
      expect((await root.get(`/v0/artifacts/${id}/content`)).status).toBe(200);
      expect(refusal(await keep(root, { artifact: id }))).toEqual(none);
      toEntry(await keep(adas, { artifact: id }));
      expect(await cited(adas, "otter")).toMatchObject({ state: "fresh" });
      expect(await cited(root, "otter", `&owner=user:${ada.uid}`)).toMatchObject({ state: "missing" });
    });

    it("are never memory's own: each look is decided about, and recorded under, who asked", async () => {
      const id = await put(adas, "The badger digs.\n");
      toEntry(await keep(adas, { artifact: id }));
      await cited(adas, "badger");
      const actions = await audited(`actor=user:${ada.uid}&action=read_artifact`);
      const about = actions.filter(({ resource }) => resource?.id === id);
      expect(about.map(({ actor, decision }) => [actor.via, actor.uid, decision?.outcome])).toEqual([
        ["artifacts", ada.uid, "allow"],
        ["artifacts", ada.uid, "allow"],
      ]);
      expect(await audited("actor=service:memory&action=read_artifact")).toEqual([]);
      await using memory = await aether.connect("memory");
      const envelope = { request_id: createId("req") };
      const options = { envelope, timeoutMs: 500 };
      const download = request(memory, downloadArtifact, { id }, options);
      await expect(download).rejects.toMatchObject({ slug: "not-found" }); // it may read its own files only
      const get = request(memory, getArtifact, { id }, options);
      await expect(get).rejects.toMatchObject({ slug: "unavailable" }); // and may not even ask for this
      const member = { id: String(ben.uid), type: "User", roles: ["member"] } as const;
      const lend = (borrower: object) =>
        request(memory, lendArtifact, { id, borrower, intent_id: null, known: null } as never, { envelope });
      await expect(lend(member)).rejects.toMatchObject({ slug: "not-found" });
      for (const more of [{ roles: ["operator"] }, { type: "Service" }, { type: "Worker" }])
        await expect(lend({ ...member, ...more }), JSON.stringify(more)).rejects.toMatchObject({
          slug: "invalid-request",
        });
      const lent = await lend({ ...member, id: String(ada.uid) });
      await using gateway = await aether.connect("gateway");
      const stolen = { transfer: lent.reply.transfer ?? "", index: 0, count: 1, to: "0".repeat(32) };
      const principal = { ...member, roles: [...member.roles] };
      await expect(
        request(gateway, readChunks, stolen, { envelope: { ...envelope, principal } }),
      ).rejects.toMatchObject({ slug: "conflict" });
    });
  });
});
