// Capability tokens over the real socket: what their bearer may do, whom they count for, and that nobody keeps them.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { createId, Problem, type Token } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { type Answer, type Curl, createCurl } from "./_curl.ts";

const missing = requireBackend("nats") ?? (process.getuid?.() === 0 ? null : "other users need root");
const root = join(import.meta.dirname, "..");
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const ben = { uid: 41_002, gid: memberGroup.gid };

describe.skipIf(missing)(`capability tokens${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let curl: Curl;
  let adas: Curl;

  beforeAll(async () => {
    aether = await startAether({
      worker: false,
      environment: { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name } },
    });
    curl = createCurl(aether.socket);
    adas = curl.as(ada);
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  const bearing = (token: string) => ["-H", `Authorization: Bearer ${token}`];
  const create = async (as: Curl, body: object, ...args: string[]) =>
    toToken(await as.post("/v0/tokens", body, ...args));
  const submit = async (as: Curl) =>
    (JSON.parse((await as.post("/v0/jobs", { command: ["true"] })).body) as { id: string }).id;
  const slugOf = ({ status, body }: Answer) =>
    `${status} ${status < 400 ? "" : Problem.parse(JSON.parse(body)).type.split(":").at(-1)}`.trim();

  it("let their bearer do what they name, to what they name, and nothing else", async () => {
    const [one, other] = [await submit(adas), await submit(adas)];
    const { token } = await create(adas, { capabilities: [{ actions: ["read_job"], id: one }] });
    const said = async (path: string, ...args: string[]) => slugOf(await adas.get(path, ...bearing(token), ...args));
    expect(await said(`/v0/jobs/${one}`)).toBe("200");
    expect(await said(`/v0/jobs/${other}`)).toBe("403 policy-denied");
    expect(await said("/v0/jobs")).toBe("403 policy-denied");
    expect(await said(`/v0/jobs/${one}/logs`)).toBe("403 policy-denied");
    expect(await said(`/v0/jobs/${one}/kill`, "-X", "POST")).toBe("403 policy-denied");
    expect(await said(`/v0/jobs/${one}/../${other}`, "--path-as-is")).toBe("404 not-found");
    expect(await said(`/v0/jobs/${one}%2f..%2f${other}`)).toBe("400 invalid-request");
    expect(await said(`/v0/jobs/${createId("job")}`)).toBe("404 not-found");
    expect(slugOf(await adas.get(`/v0/jobs/${other}`))).toBe("200");
  });

  it("count for nobody else, and say so as HTTP does", async () => {
    const { token } = await create(adas, { capabilities: [{ actions: ["list_jobs", "read_job"] }] });
    expect(slugOf(await adas.get("/v0/jobs", ...bearing(token)))).toBe("200");
    for (const as of [curl.as(ben), curl]) {
      const answer = await as.get("/v0/jobs", ...bearing(token));
      expect(slugOf(answer)).toBe("401 token-refused");
      expect(answer.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
      expect(Problem.parse(JSON.parse(answer.body)).detail).toBe("it is bound to somebody else");
    }
  });

  it("count on the socket of the agent that they are bound to, and on no other", async () => {
    const socketOf = (name: string) => join(aether.home, "agents", name, "aetherd.sock");
    for (const name of ["aurora", "borealis"]) {
      expect(slugOf(await adas.post("/v0/agents", { name }))).toBe("201");
      await waitFor(`${name}'s socket`, () => existsSync(socketOf(name)));
    }
    // The same uid at the other end of every one of them: who it is, the socket says.
    const [aurora, borealis] = [createCurl(socketOf("aurora")), createCurl(socketOf("borealis"))];
    const capabilities = [{ actions: ["list_jobs", "read_job"] }];
    const own = await create(aurora, { capabilities });
    expect(own).toMatchObject({ owner: "agent:aurora", bind: { agent: "aurora" } });
    const given = await create(adas, { capabilities, bind: { agent: "aurora" } });
    const roots = await create(curl, { capabilities });
    const said = async (as: Curl, { token }: { token: string }) => slugOf(await as.get("/v0/jobs", ...bearing(token)));
    for (const token of [own, given]) {
      expect(await said(aurora, token)).toBe("200");
      expect(await said(borealis, token)).toBe("401 token-refused");
      expect(await said(curl, token)).toBe("401 token-refused");
    }
    expect(await said(curl, roots)).toBe("200");
    expect(await said(aurora, roots)).toBe("401 token-refused");
    expect(slugOf(await aurora.run("-X", "DELETE", `http://aether/v0/tokens/${given.id}`))).toBe("404 not-found");
  });

  it("narrow what memory and a job's inputs read on their bearer's behalf", async () => {
    const stored = await adas.run(
      "-X",
      "PUT",
      "--data-binary",
      "secret words",
      "http://aether/v0/artifacts/content?name=a",
    );
    const { id } = JSON.parse(stored.body) as { id: string };
    const actions = ["memory_write", "memory_read", "memory_search", "submit_job", "start_job"];
    const { token } = await create(adas, { capabilities: [{ actions }] });
    const kept = { kind: "document", artifact: id };
    expect(slugOf(await adas.post("/v0/memory/entries", kept, ...bearing(token)))).toBe("400 invalid-request");
    const spec = { command: ["true"], inputs: [{ artifact: id, path: "/inputs/a" }] };
    expect(slugOf(await adas.post("/v0/jobs", spec, ...bearing(token)))).toBe("400 invalid-request");
    await adas.post("/v0/agents", { name: "scout" });
    const attached = { command: ["true"], attach: { agent: "scout" } };
    expect(slugOf(await adas.post("/v0/jobs", attached, ...bearing(token)))).toBe("403 policy-denied");
    const wider = await create(adas, { capabilities: [{ actions: [...actions, "read_artifact", "run_agent"] }] });
    expect(slugOf(await adas.post("/v0/memory/entries", kept, ...bearing(wider.token)))).toBe("201");
    expect(slugOf(await adas.post("/v0/jobs", spec, ...bearing(wider.token)))).toBe("201");
    expect(slugOf(await adas.post("/v0/jobs", attached, ...bearing(wider.token)))).toBe("201");
  });

  it("end at once when they, or what they were made with, are revoked", async () => {
    const parent = await create(adas, { capabilities: [{ actions: ["list_jobs", "read_job", "create_token"] }] });
    const child = await create(
      adas,
      { capabilities: [{ actions: ["list_jobs", "read_job"] }] },
      ...bearing(parent.token),
    );
    expect(slugOf(await adas.get("/v0/jobs", ...bearing(child.token)))).toBe("200");
    expect(slugOf(await adas.run("-X", "DELETE", `http://aether/v0/tokens/${parent.id}`))).toBe("200");
    expect(slugOf(await adas.get("/v0/jobs", ...bearing(child.token)))).toBe("401 token-refused");
    expect(slugOf(await adas.post("/v0/tokens", {}, ...bearing(parent.token)))).toBe("400 invalid-request");
  });

  it("are not replayed for an Idempotency-Key", async () => {
    const key = ["-H", `Idempotency-Key: ${createId("req")}`];
    const body = { capabilities: [{ actions: ["read_job"] }] };
    expect(slugOf(await adas.post("/v0/tokens", body, ...key))).toBe("201");
    expect(slugOf(await adas.post("/v0/tokens", body, ...key))).toBe("409 idempotency-conflict");
  });

  it("stand in no log and no list", async () => {
    const { id, token } = await create(adas, { capabilities: [{ actions: ["list_tokens", "read_token"] }] });
    const listed = await adas.get("/v0/tokens", ...bearing(token));
    expect(listed.body).toContain(id);
    expect(slugOf(await adas.get("/v0/jobs", ...bearing(`${token}x`)))).toBe("401 token-refused");
    const records = await curl.get("/v0/audit?limit=500");
    const logs = (["gateway", "policy", "jobs"] as const).map((name) => aether.log(name));
    for (const text of [listed.body, records.body, ...logs]) expect(text).not.toContain(token.split(".")[2]);
  });

  it("are made, used and revoked by the command line", async () => {
    const folder = mkdtempSync(join(aether.home, "tokens-"));
    const file = join(folder, "job.token");
    const cli = (...args: string[]) =>
      promisify(execFile)(process.execPath, [join(root, "apps/cli/src/main.ts"), "--socket", aether.socket, ...args], {
        env: { PATH: process.env.PATH ?? "" },
      }).then(
        ({ stdout }) => stdout.trim(),
        (error: { code: number; stderr: string }) => `exit ${error.code}: ${error.stderr.split("\n")[0]}`,
      );
    const id = await cli(
      "token",
      "create",
      "-w",
      file,
      "--ttl",
      "1m",
      "list_jobs,read_job:user:0",
      "read_token,list_tokens",
    );
    expect(id).toMatch(/^tok_/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "utf8")).toMatch(/^[\w.-]+\n$/);
    expect(await cli("--token-file", file, "ps", "-a", "-q")).toBe("");
    expect(await cli("--token-file", file, "run", "true")).toMatch(/^exit 125/);
    expect(await cli("--token-file", file, "token", "ls")).toMatch(
      new RegExp(`${id} +user:0 +user:0 +in .* +list_jobs,read_job:user:0 read_token,list_tokens`),
    );
    expect(await cli("token", "rm", id)).toBe(id);
    expect(await cli("--token-file", file, "ps")).toMatch(/^exit 3: aether: The capability token does not count/);
    rmSync(file);
    expect(await cli("--token-file", file, "ps")).toMatch(/^exit 2: aether: the token file .* cannot be read/);
  });
});

function toToken({ status, body }: Answer): Token & { token: string } {
  expect(status, body).toBe(201);
  return JSON.parse(body);
}
