// Artifacts over HTTP, as two ordinary users of the host and root: what is stored is whole, what is somebody else's is not
// there, and no path makes anybody read what he could not have read himself.
import { execFile, execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Bus, request } from "@aether/bus";
import {
  type Artifact,
  closeTransfer,
  commitUpload,
  createId,
  limits,
  Problem,
  sendChunk,
  uploadArtifact,
} from "@aether/contracts";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl, urlOf } from "./_curl.ts";

const missing = requireBackend("nats") ?? (process.getuid?.() === 0 ? null : "other users need root");
const run = promisify(execFile);
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const ben = { uid: 41_002, gid: memberGroup.gid };
const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");
const toArtifact = (answer: Answer) => {
  expect(answer.status, answer.body).toBeLessThan(300);
  return JSON.parse(answer.body) as Artifact;
};
const problemOf = ({ status, body }: Answer) => {
  const problem = Problem.parse(JSON.parse(body));
  expect(problem.status).toBe(status);
  return problem;
};
const refusal = (answer: Answer) => [answer.status, problemOf(answer).type.replace("urn:aether:problem:", "")];
const contentOf = (name: string, more = "") => urlOf(`/v0/artifacts/content?name=${encodeURIComponent(name)}${more}`);

describe.skipIf(missing)(`artifacts${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let curl: Curl;
  const folder = tempDir();

  beforeAll(async () => {
    chmodSync(folder.path, 0o755);
    aether = await startAether({
      worker: false,
      environment: {
        gateway: { AETHER_GATEWAY_GROUP: memberGroup.name },
        artifacts: { AETHER_ARTIFACTS_IDLE_MS: "500" },
      },
    });
    curl = createCurl(aether.socket);
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  const put = (text: string, name = "a.txt", as = curl, ...args: string[]) =>
    as.run("-X", "PUT", "--data-binary", text, ...args, contentOf(name));
  async function* bytesOf(bytes: Uint8Array) {
    for (let from = 0; from < bytes.length; from += 100_000) yield bytes.subarray(from, from + 100_000);
  }
  async function read(id: string): Promise<Buffer> {
    const { body } = await aether.client.artifacts.content(id);
    const parts: Uint8Array[] = [];
    for await (const part of body) parts.push(part);
    return Buffer.concat(parts);
  }
  const messages = async () => {
    await using bus = await aether.connect("ops");
    return (await bus.jsm.streams.info("ARTIFACTS")).state.messages;
  };
  /** On the bus, as the gateway does for root. */
  const as = {
    envelope: {
      request_id: createId("req"),
      principal: { type: "User" as const, id: "0", roles: ["operator" as const] },
    },
  };
  const begin = async (bus: Bus, announced: { sha256: string; size_bytes: number }) =>
    (await request(bus, uploadArtifact, { name: "begun", ...announced }, as)).reply;
  const uploads = async () => {
    const all = (await aether.client.metrics()).services.flatMap(({ metrics }) => metrics);
    const points = all.flatMap((metric) => (metric.type === "histogram" ? metric.points : []));
    const own = points.filter(({ attributes }) => attributes["aether.operation"] === "artifacts.upload");
    return own.reduce((sum, { count }) => sum + count, 0);
  };
  const refused = async (as: Curl, path: string) => {
    const answer = await as.post("/v0/artifacts", { path });
    expect(refusal(answer)).toEqual([422, "file-refused"]);
    return problemOf(answer).detail;
  };

  describe("bytes", () => {
    it.each([0, 1, limits.chunkBytes - 1, limits.chunkBytes, limits.chunkBytes + 1, 5 * limits.chunkBytes + 7])(
      "of %i come back as they were sent, of known length and of unknown",
      async (size) => {
        const bytes = randomBytes(size);
        for (const known of [true, false]) {
          const made = await aether.client.artifacts.put(bytesOf(bytes), {
            name: "random",
            ...(known && { sizeBytes: size }),
          });
          expect(made).toMatchObject({ size_bytes: size, sha256: sha256(bytes), owner: "user:0", name: "random" });
          expect((await read(made.id)).equals(bytes)).toBe(true);
          expect(await aether.client.artifacts.get(made.id, { path: false })).toEqual(made);
        }
      },
    );

    it("that are there already are not stored again, and stay until their last artifact goes", async () => {
      const bytes = randomBytes(3 * limits.chunkBytes);
      const before = await messages();
      const first = await aether.client.artifacts.put(bytesOf(bytes), { name: "one" });
      const announced = await aether.client.artifacts.put(bytesOf(bytes), { name: "two", sha256: first.sha256 });
      const silent = await aether.client.artifacts.put(bytesOf(bytes), { name: "three" });
      expect(await messages()).toBe(before + 3);
      await aether.client.artifacts.delete(first.id);
      await aether.client.artifacts.delete(silent.id);
      expect((await read(announced.id)).equals(bytes)).toBe(true);
      await aether.client.artifacts.delete(announced.id);
      expect(await messages()).toBe(before);
      await expect(aether.client.artifacts.get(announced.id)).rejects.toMatchObject({ slug: "not-found" });
    });

    it("that are known under the digest that was announced go no further than the gateway", async () => {
      const bytes = randomBytes(20 * limits.chunkBytes);
      const { id, sha256: digest } = await aether.client.artifacts.put(bytesOf(bytes), { name: "first" });
      const received = async () =>
        ((await (await fetch(`${aether.nats.monitor}/varz`)).json()) as { in_bytes: number }).in_bytes;
      const [before, stored] = [await received(), await messages()];
      const again = await aether.client.artifacts.put(bytesOf(bytes), { name: "again", sha256: digest });
      expect((await received()) - before).toBeLessThan(limits.chunkBytes);
      expect(again).toMatchObject({ name: "again", size_bytes: bytes.length, sha256: digest });
      expect(await messages()).toBe(stored);
      await aether.client.artifacts.delete(id);
      expect((await read(again.id)).equals(bytes)).toBe(true);
    });

    it("that are known stay from the beginning of an upload to its end, whatever is deleted meanwhile", async () => {
      await using gateway = await aether.connect("gateway");
      const bytes = randomBytes(2 * limits.chunkBytes);
      const came = { sha256: sha256(bytes), size_bytes: bytes.length };
      const before = await messages();
      const first = await aether.client.artifacts.put(bytesOf(bytes), { name: "last" });
      const begun = await begin(gateway, came);
      const given = await begin(gateway, came);
      expect([begun.known, given.known]).toEqual([true, true]);
      await aether.client.artifacts.delete(first.id);
      expect(await messages()).toBe(before + 2);
      expect((await begin(gateway, came)).known).toBe(false); // nobody has them any more
      await request(gateway, closeTransfer, { transfer: given.transfer }, as);
      const made = (await request(gateway, commitUpload, { transfer: begun.transfer, came }, as)).reply;
      expect((await read(made.id)).equals(bytes)).toBe(true);
      await aether.client.artifacts.delete(made.id);
      expect(await messages()).toBe(before);
    });

    it("that are known go when who announced them gives up, sends others or dawdles, and nothing is stored", async () => {
      await using gateway = await aether.connect("gateway");
      const bytes = randomBytes(100);
      const came = { sha256: sha256(bytes), size_bytes: bytes.length };
      const before = await messages();
      const first = await aether.client.artifacts.put(bytesOf(bytes), { name: "known" });
      const [gives, lies, dawdles] = [
        await begin(gateway, came),
        await begin(gateway, came),
        await begin(gateway, came),
      ];
      const begunAt = performance.now();
      await aether.client.artifacts.delete(first.id);
      await request(gateway, closeTransfer, { transfer: gives.transfer }, as);
      const commit = (transfer: string, other: object = {}) =>
        request(gateway, commitUpload, { transfer, came: { ...came, ...other } }, as);
      await expect(commit(lies.transfer, { sha256: sha256("other") })).rejects.toMatchObject({
        slug: "digest-mismatch",
      });
      while (performance.now() - begunAt < 1_000) {
        await request(
          gateway,
          sendChunk,
          { transfer: dawdles.transfer, index: 0 },
          { ...as, bytes: new Uint8Array(0) },
        );
        expect(await messages()).toBe(before + 1); // kept open
      }
      await waitFor("the bytes to go", async () => (await messages()) === before);
      await expect(commit(dawdles.transfer)).rejects.toMatchObject({ slug: "conflict" });
      expect((await aether.client.artifacts.list({ sha256: came.sha256 })).items).toEqual([]);
    });

    it("are believed to have come to the gateway alone, and only where they are known", async () => {
      await using gateway = await aether.connect("gateway");
      await using memory = await aether.connect("memory");
      const bytes = randomBytes(100);
      const came = { sha256: sha256(bytes), size_bytes: bytes.length };
      const unknown = await begin(gateway, came);
      expect(unknown.known).toBe(false);
      await expect(request(gateway, commitUpload, { transfer: unknown.transfer, came }, as)).rejects.toMatchObject({
        slug: "conflict",
      });
      await aether.client.artifacts.put(bytesOf(bytes), { name: "known" });
      const told = await begin(memory, came);
      expect(told.known).toBe(false);
      await expect(request(memory, commitUpload, { transfer: told.transfer, came }, as)).rejects.toMatchObject({
        slug: "conflict",
      });
      const empty = { ...as, bytes: new Uint8Array(0) };
      await expect(request(memory, sendChunk, { transfer: told.transfer, index: 0 }, empty)).rejects.toMatchObject({
        slug: "invalid-request",
      });
      await request(memory, closeTransfer, { transfer: told.transfer }, as);
    });

    it("of an upload that was lost on the way are to be sent again, and nothing of them is stored", async () => {
      const bytes = randomBytes(4 * limits.chunkBytes);
      const { sha256: digest } = await aether.client.artifacts.put(bytesOf(bytes), { name: "kept" });
      const [before, begun] = [await messages(), await uploads()];
      const again = aether.client.artifacts.put(
        (async function* () {
          yield bytes.subarray(0, 100);
          await waitFor("the upload to be begun", async () => (await uploads()) === begun + 1);
          await aether.programs.artifacts.kill();
          aether.programs.artifacts.start();
          await aether.ready();
          yield bytes.subarray(100);
        })(),
        { name: "lost", sha256: digest },
      );
      await expect(again).rejects.toMatchObject({
        slug: "unavailable",
        problem: { status: 503, retry_after_ms: 1000 },
      });
      expect((await aether.client.artifacts.list({ sha256: digest })).items.map(({ name }) => name)).toEqual(["kept"]);
      expect(await messages()).toBe(before);
    });

    it("other than announced are refused and nothing of them stays", async () => {
      const before = await messages();
      const digest = (of: string) => Buffer.from(sha256(of), "hex").toString("base64");
      for (const header of [`Content-Digest: sha-256=:${digest("43")}:`, `Digest: SHA-256=${digest("43")}`])
        expect(refusal(await put("42", "wrong", curl, "-H", header))).toEqual([422, "digest-mismatch"]);
      expect(await messages()).toBe(before);
      expect(
        toArtifact(await put("42", "right", curl, "-H", `Content-Digest: sha-256=:${digest("42")}:`)).size_bytes,
      ).toBe(2);
    });

    it("are one artifact for one Idempotency-Key, and other bytes or another name under it are refused", async () => {
      const before = await messages();
      const key = ["-H", "Idempotency-Key: put-once"];
      const first = toArtifact(await put("once", "once", curl, ...key));
      expect(toArtifact(await put("once", "once", curl, ...key))).toEqual(first);
      expect(refusal(await put("more", "once", curl, ...key))).toEqual([409, "idempotency-conflict"]);
      expect(refusal(await put("once", "other", curl, ...key))).toEqual([409, "idempotency-conflict"]);
      expect((await aether.client.artifacts.list({ sha256: sha256("once") })).items).toEqual([first]);
      expect(await messages()).toBe(before + 1);
    });

    it("whose sender breaks off leave nothing that can be read, listed or counted", async () => {
      const before = await messages();
      const listed = await aether.client.artifacts.list();
      const upload = httpRequest({
        socketPath: aether.socket,
        method: "PUT",
        path: "/v0/artifacts/content?name=broken",
        headers: { Host: "aether", "Content-Length": 100 * limits.chunkBytes },
      });
      upload.on("error", () => {});
      upload.write(randomBytes(4 * limits.chunkBytes));
      await waitFor("chunks to be stored", async () => (await messages()) > before);
      upload.destroy();
      await waitFor("the chunks to go", async () => (await messages()) === before);
      expect(await aether.client.artifacts.list()).toEqual(listed);
    });

    it("wait for a reader that pauses, also beyond the life of a transfer and of the service", {
      timeout: 60_000,
    }, async () => {
      const bytes = randomBytes(40 * limits.chunkBytes);
      const made = await aether.client.artifacts.put(bytesOf(bytes), { name: "slow" });
      const { body } = await aether.client.artifacts.content(made.id);
      const parts: Uint8Array[] = [];
      for await (const part of body) {
        parts.push(part);
        if (parts.length === 3) {
          await aether.programs.artifacts.kill();
          aether.programs.artifacts.start();
          await waitFor("artifacts to be back", () => aether.ready().then(() => true), 20_000);
        }
      }
      expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    });

    it("of a deleted artifact are still given to who reads them already", async () => {
      const bytes = randomBytes(20 * limits.chunkBytes);
      const made = await aether.client.artifacts.put(bytesOf(bytes), { name: "going" });
      const before = await messages();
      const { body } = await aether.client.artifacts.content(made.id);
      const parts: Uint8Array[] = [];
      for await (const part of body) {
        if (parts.push(part) === 1) await aether.client.artifacts.delete(made.id);
      }
      expect(Buffer.concat(parts).equals(bytes)).toBe(true);
      await waitFor("the bytes to go", async () => (await messages()) === before - 20);
    });
  });

  describe("answers", () => {
    let id: string;
    let etag: string;
    const text = "0123456789";
    beforeAll(async () => {
      const made = toArtifact(await put(text, 'q"ö 1.txt'));
      ({ id } = made);
      etag = `"${made.sha256}"`;
    });

    it.each<[string, string[], number, string, string | null]>([
      ["no range", [], 200, text, null],
      ["a range", ["Range: bytes=2-4"], 206, "234", "bytes 2-4/10"],
      ["an open range", ["Range: bytes=7-"], 206, "789", "bytes 7-9/10"],
      ["a last range", ["Range: bytes=-3"], 206, "789", "bytes 7-9/10"],
      ["more than there is at the end", ["Range: bytes=-99"], 206, text, "bytes 0-9/10"],
      ["a range beyond the end", ["Range: bytes=8-99"], 206, "89", "bytes 8-9/10"],
      ["a range behind the end", ["Range: bytes=10-"], 416, "", "bytes */10"],
      ["nothing at the end", ["Range: bytes=-0"], 416, "", "bytes */10"],
      ["several ranges", ["Range: bytes=0-1,3-4"], 200, text, null],
      ["a range backwards", ["Range: bytes=4-2"], 200, text, null],
      ["a range in another unit", ["Range: lines=1-2"], 200, text, null],
      ["a range of other bytes", ["Range: bytes=2-4", 'If-Range: "other"'], 200, text, null],
      ["a range since a date", ["Range: bytes=2-4", "If-Range: Thu, 01 Jan 2026 00:00:00 GMT"], 200, text, null],
      ["a range of these bytes", ["Range: bytes=2-4", "If-Range: TAG"], 206, "234", "bytes 2-4/10"],
      ["bytes that are known", ["If-None-Match: TAG"], 304, "", null],
      ["bytes that are known among others", ['If-None-Match: "x", W/TAG'], 304, "", null],
      ["any bytes that are known", ["If-None-Match: *"], 304, "", null],
      ["bytes that are not known", ['If-None-Match: "x"'], 200, text, null],
    ])("%s", async (_, headers, status, body, contentRange) => {
      const args = headers.flatMap((header) => ["-H", header.replace("TAG", etag)]);
      const answer = await curl.get(`/v0/artifacts/${id}/content`, ...args);
      expect([answer.status, answer.headers.get("content-range")]).toEqual([status, contentRange]);
      if (status === 416) return expect(refusal(answer)).toEqual([416, "range-not-satisfiable"]);
      expect([answer.body, answer.headers.get("etag")]).toEqual([body, etag]);
      if (status !== 304) expect(answer.headers.get("content-length")).toBe(String(body.length));
    });

    it("name the file so that no name can do harm", async () => {
      const { headers } = await curl.get(`/v0/artifacts/${id}/content`);
      expect(headers.get("content-disposition")).toBe(
        "attachment; filename=\"q__ 1.txt\"; filename*=UTF-8''q%22%C3%B6%201.txt",
      );
      expect(headers.get("x-content-type-options")).toBe("nosniff");
    });

    it("are found again by job, type, digest and label, newest first", async () => {
      const label = `list=${randomBytes(4).toString("hex")}`;
      const job = "job_01kas4f8m0w3v5x7z9b2d4f6h8";
      const more = `&type=text/x-list&job_id=${job}&label=${encodeURIComponent(label)}`;
      const made: string[] = [];
      for (const text of ["1", "2", "3"])
        made.unshift(toArtifact(await curl.run("-X", "PUT", "--data-binary", text, contentOf("l", more))).id);
      const list = async (query: string) => {
        const answer = JSON.parse((await curl.get(`/v0/artifacts?${query}`)).body) as {
          items: Artifact[];
          next_cursor: string;
        };
        return { ids: answer.items.map(({ id: one }) => one), cursor: answer.next_cursor };
      };
      for (const query of [`job_id=${job}`, "type=text/x-list", `label=${encodeURIComponent(label)}`])
        expect((await list(query)).ids).toEqual(made);
      expect((await list(`sha256=${sha256("2")}&type=text/x-list`)).ids).toEqual([made[1]]);
      const page = await list(`job_id=${job}&limit=2`);
      expect(page.ids).toEqual(made.slice(0, 2));
      expect((await list(`job_id=${job}&limit=2&cursor=${page.cursor}`)).ids).toEqual(made.slice(2));
    });
  });

  describe("of another user", () => {
    it("are not there: neither record, nor bytes, nor list, nor deletion", async () => {
      const made = toArtifact(await put("ada's", "secret", curl.as(ada)));
      expect(made.owner).toBe(`user:${ada.uid}`);
      const bens = curl.as(ben);
      for (const path of [`/v0/artifacts/${made.id}`, `/v0/artifacts/${made.id}/content`])
        expect(refusal(await bens.get(path))).toEqual([404, "not-found"]);
      expect(refusal(await bens.run("-X", "DELETE", urlOf(`/v0/artifacts/${made.id}`)))).toEqual([404, "not-found"]);
      expect(JSON.parse((await bens.get(`/v0/artifacts?sha256=${made.sha256}`)).body)).toMatchObject({ items: [] });
      expect((await curl.get(`/v0/artifacts/${made.id}/content`)).body).toBe("ada's"); // an operator reads everything
      expect(refusal(await curl.run("-X", "DELETE", urlOf(`/v0/artifacts/${made.id}`)))).toEqual([
        403,
        "policy-denied",
      ]);
    });

    it("are not had by knowing their digest, nor is it told that they are there", async () => {
      const made = toArtifact(await put("a secret of ada's", "secret", curl.as(ada)));
      const guess = async (digest: string) => {
        const header = `Content-Digest: sha-256=:${Buffer.from(digest, "hex").toString("base64")}:`;
        const answer = await put("guess", "mine", curl.as(ben), "-H", header);
        const { instance: _, ...problem } = problemOf(answer);
        return { ...problem, headers: [...answer.headers.keys()] };
      };
      const known = await guess(made.sha256);
      expect([known.status, known.type]).toEqual([422, "urn:aether:problem:digest-mismatch"]);
      expect(known).toEqual(await guess(sha256("nobody's")));
    });
  });

  describe("files of this host", () => {
    const home = (user: { uid: number; gid: number }) => join(folder.path, String(user.uid));
    beforeAll(() => {
      for (const user of [ada, ben]) {
        mkdirSync(home(user), { mode: 0o755 });
        chownSync(home(user), user.uid, user.gid);
        const file = join(home(user), "private");
        writeFileSync(file, `of ${user.uid}`, { mode: 0o600 });
        chownSync(file, user.uid, user.gid);
      }
      writeFileSync(join(folder.path, "roots"), "of root", { mode: 0o600 });
    });

    it("are stored with the rights of who asks, under their name", async () => {
      const made = toArtifact(await curl.as(ada).post("/v0/artifacts", { path: join(home(ada), "private") }));
      expect(made).toMatchObject({ name: "private", sha256: sha256(`of ${ada.uid}`), owner: `user:${ada.uid}` });
      const wrong = await curl.as(ada).post("/v0/artifacts", { path: join(home(ada), "private"), sha256: sha256("x") });
      expect(refusal(wrong)).toEqual([422, "digest-mismatch"]);
    });

    it("that the asker may not read are refused, whatever leads to them", async () => {
      const link = join(home(ada), "link");
      symlinkSync(join(home(ben), "private"), link);
      symlinkSync(folder.path, join(home(ada), "folder"));
      const as = curl.as(ada);
      expect(await refused(as, join(home(ben), "private"))).toBe("you may not read it");
      expect(await refused(as, `${home(ada)}/../${ben.uid}/private`)).toBe("you may not read it");
      expect(await refused(as, join(home(ada), "folder", "roots"))).toBe("you may not read it");
      expect(await refused(as, "/etc/shadow")).toBe("you may not read it");
      expect(await refused(as, link)).toBe("the path is a link");
      expect(await refused(as, join(home(ada), "nothing"))).toBe("there is no such file");
    });

    it("are not led to by somebody's link for root", async () => {
      symlinkSync(folder.path, join(home(ben), "way"));
      expect(await refused(curl, join(home(ben), "way", "roots"))).toBe("a folder of the path is a link");
      expect(toArtifact(await curl.post("/v0/artifacts", { path: join(folder.path, "roots") })).size_bytes).toBe(7);
    });

    it("that are no files are never opened", async () => {
      execFileSync("mkfifo", ["-m", "666", join(home(ada), "fifo")]);
      const huge = join(home(ada), "huge");
      writeFileSync(huge, "", { mode: 0o644 });
      truncateSync(huge, 2 ** 40);
      const as = curl.as(ada);
      expect(await refused(as, join(home(ada), "fifo"))).toBe("the path is not a regular file");
      expect(await refused(as, home(ada))).toBe("the path is not a regular file");
      expect(await refused(as, "/dev/zero")).toBe("the path is not a regular file");
      expect(await refused(as, "/proc/self/status")).toBe("files under /proc are not read");
      expect(await refused(as, huge)).toBe(`the file is larger than ${limits.artifactBytes} bytes`);
    });

    it("whose name would not do get another", async () => {
      const path = join(home(ada), "a\nb\u202etxt");
      writeFileSync(path, "x");
      expect(toArtifact(await curl.as(ada).post("/v0/artifacts", { path })).name).toBe("file");
    });

    it("that are swapped for links while they are asked for give away nothing", async () => {
      const path = join(home(ada), "swapped");
      const script = `while :; do ln -sfn '${join(folder.path, "roots")}' "$0"; rm -f "$0"; echo mine >"$0"; done`;
      const swapper = execFile("sh", ["-c", script, path], ada);
      try {
        const outcomes = new Set<string>();
        for (let i = 0; i < 60; i++) {
          const answer = await curl.as(ada).post("/v0/artifacts", { path });
          if (answer.status === 201) {
            const body = (await curl.get(`/v0/artifacts/${toArtifact(answer).id}/content`)).body;
            expect(["mine\n", ""]).toContain(body);
          } else outcomes.add(problemOf(answer).detail ?? "");
        }
        for (const why of outcomes)
          expect(["the path is a link", "there is no such file", "the file changed while it was read"]).toContain(why);
      } finally {
        swapper.kill("SIGKILL");
      }
    });

    it("that hold an artifact are its reader's alone, whole, and made good when they are not", async () => {
      const made = toArtifact(await put("placed", "p", curl.as(ada)));
      const ask = async (as: Curl) => toArtifact(await as.get(`/v0/artifacts/${made.id}`)).path ?? "";
      const path = await ask(curl.as(ada));
      const cat = (as: object) => run("cat", [path], as).then(({ stdout }) => stdout);
      expect(await cat(ada)).toBe("placed");
      await expect(cat(ben)).rejects.toThrow(/Permission denied/);
      chmodSync(path, 0o600);
      writeFileSync(path, "PLACED");
      expect([await ask(curl.as(ada)), await cat(ada)]).toEqual([path, "placed"]);
      await run("sh", ["-c", `rm -f '${path}'; ln -s /etc/passwd '${path}'`], ada);
      expect([await ask(curl.as(ada)), await cat(ada)]).toEqual([path, "placed"]);
      expect(await ask(curl)).not.toBe(path); // root has a copy of his own
      expect((await curl.as(ada).run("-X", "DELETE", urlOf(`/v0/artifacts/${made.id}`))).status).toBe(200);
      expect(() => readFileSync(path)).toThrow(/ENOENT/);
    });
  });

  it("an acknowledged artifact outlives a killed service, and nothing else of it does", {
    timeout: 120_000,
  }, async () => {
    const before = await messages();
    const kept: { id: string; bytes: Buffer }[] = [];
    for (let round = 0; round < 2; round++) {
      const puts = Array.from({ length: 12 }, async () => {
        const bytes = randomBytes(2 * limits.chunkBytes + 1);
        const { id } = await aether.client.artifacts.put(bytesOf(bytes), { name: "storm", type: "x/storm" });
        kept.push({ id, bytes });
      });
      const first = Promise.race(puts).catch(() => {});
      const all = Promise.allSettled(puts);
      await first;
      await aether.programs.artifacts.kill();
      await all;
      aether.programs.artifacts.start();
      await aether.ready();
    }
    expect(kept.length).toBeGreaterThan(0);
    for (const { id, bytes } of kept) expect((await read(id)).equals(bytes)).toBe(true);
    const { items } = await aether.client.artifacts.list({ type: "x/storm", limit: 500 });
    // An answer may have been lost behind the record: such an artifact is whole as well.
    for (const { id, sha256: digest } of items) expect(sha256(await read(id))).toBe(digest);
    expect(await messages()).toBe(before + 3 * items.length);
  });
});

describe.skipIf(missing)("a full store of artifacts", () => {
  it("refuses what does not fit, keeps what it has, and has room again when something goes", async () => {
    await using aether = await startAether({ worker: false, storeBytes: 10 * 1024 * 1024 });
    const put = async (bytes: Uint8Array, known = true) =>
      aether.client.artifacts.put(
        (async function* () {
          yield bytes;
        })(),
        { name: "b", ...(known && { sizeBytes: bytes.length }) },
      );
    const first = randomBytes(2 * 1024 * 1024);
    const made = await put(first);
    for (const known of [true, false])
      await expect(put(randomBytes(2 * 1024 * 1024), known)).rejects.toMatchObject({ slug: "artifacts-full" });
    await expect(put(randomBytes(1024))).resolves.toMatchObject({ size_bytes: 1024 });
    const again = await aether.client.artifacts.put(
      (async function* () {
        yield first;
      })(),
      { name: "same", sha256: made.sha256 },
    );
    // Others learn nothing from it of what is there.
    await using gateway = await aether.connect("gateway");
    const principal = { type: "User" as const, id: "41001", roles: ["member" as const], uid: 41_001 };
    for (const announced of [made.sha256, sha256("nobody's")])
      await expect(
        request(
          gateway,
          uploadArtifact,
          { name: "guess", size_bytes: first.length, sha256: announced },
          { envelope: { request_id: createId("req"), principal } },
        ),
      ).rejects.toMatchObject({ slug: "artifacts-full" });
    await aether.client.artifacts.delete(made.id);
    await aether.client.artifacts.delete(again.id);
    await expect(put(randomBytes(2 * 1024 * 1024))).resolves.toMatchObject({ name: "b" });
  });
});
