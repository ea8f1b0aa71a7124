// What jobs are given and what they leave: inputs that are exactly the bytes that were asked for, outputs that are whole.
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { request } from "@aether/bus";
import {
  type Artifact,
  createId,
  deleteArtifact,
  downloadArtifact,
  getArtifact,
  giveOutput,
  isTerminal,
  type Job,
  type JobSpecInput,
  readChunks,
  takeInput,
} from "@aether/contracts";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";
import { createCurl } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const memberGroup = { name: "daemon", gid: 1 };
const ada = { uid: 41_001, gid: memberGroup.gid };
const small = { resources: { cpus: 0.5, memory: "64MiB", disk: "64MiB" } };
const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

describe.skipIf(missing)(`artifacts of jobs${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  beforeAll(async () => {
    aether = await startAether({
      supervised: true,
      environment: { gateway: { AETHER_GATEWAY_GROUP: memberGroup.name } },
    });
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  async function* from(bytes: Uint8Array | string) {
    yield Buffer.from(bytes);
  }
  const put = (bytes: Uint8Array | string, name = "input") => aether.client.artifacts.put(from(bytes), { name });
  const submit = (script: string, spec: Partial<JobSpecInput> = {}) =>
    aether.client.jobs.submit({ command: ["sh", "-c", script], ...small, ...spec });
  async function ended(id: string): Promise<Job> {
    return waitFor(
      "the job to end",
      async () => {
        const job = await aether.client.jobs.get(id, { wait: "10s" }).catch(() => null);
        return job && isTerminal(job.state) ? job : null;
      },
      60_000,
    );
  }
  const run = async (script: string, spec: Partial<JobSpecInput> = {}) => ended((await submit(script, spec)).id);
  const listed = async (job: Job) => (await aether.client.artifacts.list({ job_id: job.id })).items;
  async function textOf(id: string): Promise<string> {
    const parts: Uint8Array[] = [];
    for await (const part of (await aether.client.artifacts.content(id)).body) parts.push(part);
    return Buffer.concat(parts).toString();
  }
  const log = async (job: Job) => {
    const lines: string[] = [];
    for await (const frame of aether.client.jobs.logs(job.id)) if ("data" in frame) lines.push(frame.data);
    return lines;
  };

  it("a job reads an input and writes two outputs, which are found by the job and lie at their paths", async () => {
    const bytes = randomBytes(700_000);
    const input = await put(bytes);
    const job = await run("sha256sum /inputs/data/raw | tee /outputs/digest.txt; cat /inputs/data/raw >/outputs/copy", {
      inputs: [{ artifact: input.id, path: "/inputs/data/raw" }],
    });
    expect(job).toMatchObject({ state: "succeeded", reason: null });
    expect(await log(job)).toEqual([`${sha256(bytes)}  /inputs/data/raw`]);
    expect(job.artifacts.map(({ path }) => path)).toEqual(["/outputs/copy", "/outputs/digest.txt"]);
    expect(job.artifacts[0]).toMatchObject({ sha256: sha256(bytes), size_bytes: bytes.length });
    const found = await listed(job);
    expect(found.map(({ id }) => id).sort()).toEqual(job.artifacts.map(({ id }) => id).sort());
    for (const { id, sha256: digest } of found) {
      const artifact = await aether.client.artifacts.get(id);
      expect(artifact).toMatchObject({ owner: "user:0", job_id: job.id });
      expect(
        execFileSync("sha256sum", [artifact.path ?? ""])
          .toString()
          .split(" ")[0],
      ).toBe(digest);
    }
  });

  it("inputs are read-only under /inputs, the job's own under /workspace, and unpacked where asked", async () => {
    using folder = tempDir();
    mkdirSync(join(folder.path, "src", "deep"), { recursive: true });
    writeFileSync(join(folder.path, "src", "deep", "file"), "packed");
    symlinkSync("/etc/passwd", join(folder.path, "src", "link"));
    const archive = await put(execFileSync("tar", ["-c", "-C", folder.path, "src"]), "src.tar");
    const input = await put("given");
    const job = await run(
      [
        "cat /inputs/a /workspace/own/b /workspace/tree/src/deep/file; echo",
        "echo x 2>/dev/null >/inputs/a || echo read-only",
        "rm /inputs/a 2>/dev/null || echo kept",
        "echo more >>/workspace/own/b && touch /workspace/own/c && echo writable",
      ].join("\n"),
      {
        inputs: [
          { artifact: archive.id, path: "/workspace/tree", unpack: true },
          { artifact: input.id, path: "/inputs/a" },
          { artifact: input.id, path: "/workspace/own/b" },
        ],
      },
    );
    expect(await log(job)).toEqual(["givengivenpacked", "read-only", "kept", "writable"]);
  });

  it("an archive can lead nobody out of the job's disk", async () => {
    using folder = tempDir();
    const target = join(folder.path, "target");
    mkdirSync(target);
    mkdirSync(join(folder.path, "evil"));
    symlinkSync(target, join(folder.path, "evil", "way"));
    const links = execFileSync("tar", ["-c", "-C", join(folder.path, "evil"), "way"]);
    const climbing = execFileSync("tar", [
      "-c",
      "-P",
      "--transform",
      "s,.*,../../../../tmp/aether-climbed,",
      "-C",
      folder.path,
      "evil",
    ]);
    const [first, second, file] = [await put(links), await put(climbing), await put("planted")];
    const job = await run("ls /workspace", {
      inputs: [
        { artifact: first.id, path: "/workspace", unpack: true },
        { artifact: file.id, path: "/workspace/way/planted" },
      ],
    });
    expect(job).toMatchObject({ state: "failed", reason: "input_missing" });
    await run("true", { inputs: [{ artifact: second.id, path: "/workspace", unpack: true }] });
    expect(execFileSync("sh", ["-c", `ls '${target}'; ls -d /tmp/aether-climbed 2>/dev/null; true`]).toString()).toBe(
      "",
    );
  });

  it("an input that the submitter may not read is as one that is not there; one that went fails the job", async () => {
    const input = await put("secret");
    const asked = { command: ["true"], ...small, inputs: [{ artifact: input.id, path: "/inputs/a" }] };
    const answer = await createCurl(aether.socket).as(ada).post("/v0/jobs", asked);
    expect([answer.status, JSON.parse(answer.body).errors]).toEqual([
      400,
      [{ path: "inputs.0.artifact", message: "there is no such artifact" }],
    ]);
    const waiting = await submit("true", { ...asked, pool: "default", resources: { ...small.resources, cpus: 8 } });
    await aether.client.artifacts.delete(input.id);
    const job = await ended(waiting.id);
    if (job.state !== "succeeded")
      expect(job).toMatchObject({ state: "failed", reason: "input_missing", attempts: [] });
    await expect(submit("true", asked)).rejects.toMatchObject({ slug: "invalid-request" });
  });

  it("an input that does not fit fails the job before it runs", async () => {
    const input = await put(randomBytes(8 * 1024 * 1024));
    const job = await run("true", {
      inputs: [{ artifact: input.id, path: "/inputs/a" }],
      resources: { ...small.resources, disk: "4MiB" },
    });
    expect(job).toMatchObject({ state: "failed", reason: "input_missing", attempts: [] });
    expect(job.message).toContain("too small");
  });

  it("a failed and a stopped job leave their outputs too", async () => {
    const failed = await run("echo why >/outputs/.reason; exit 3");
    expect(failed).toMatchObject({
      state: "failed",
      reason: "exit_nonzero",
      artifacts: [{ path: "/outputs/.reason" }],
    });
    const running = await submit("echo part >/outputs/part; echo ready; exec sleep 600");
    await waitFor("it to be ready", async () => (await log(running)).includes("ready"));
    await aether.client.jobs.stop(running.id, { grace: "1s" });
    const stopped = await ended(running.id);
    expect(stopped).toMatchObject({ state: "stopped", artifacts: [{ path: "/outputs/part" }] });
    expect(await textOf(stopped.artifacts[0]?.id ?? "")).toBe("part\n");
  });

  it("outputs are the files that the globs name, of their types, and regular files alone", async () => {
    const script = `
      mkdir -p out/deep /outputs/x; echo 1 >out/a.csv; echo 2 >out/deep/b.csv; echo 3 >out/c.txt; echo 4 >/outputs/x/d
      ln -s /etc/passwd out/link.csv; mkfifo out/fifo.csv; ln -s / out/root; : >"out/e
.csv"`;
    const job = await run(script, { outputs: [{ path: "out/*.csv", type: "text/csv" }, { path: "/outputs/**" }] });
    expect(job).toMatchObject({ state: "succeeded", message: null });
    expect(job.artifacts.map(({ path }) => path)).toEqual([
      "/outputs/x/d",
      "/workspace/out/a.csv",
      "/workspace/out/e\n.csv",
    ]);
    const types = new Map((await listed(job)).map(({ name, type }) => [name, type] as const));
    expect(types).toEqual(
      new Map([
        ["d", "application/octet-stream"],
        ["a.csv", "text/csv"],
        ["output", "text/csv"],
      ]),
    );
  });

  it.each([
    ["too many", "for i in $(seq 300); do : >/outputs/$i; done", /300 outputs/],
    ["a sparse terabyte", "truncate -s 1T /outputs/huge", /\/outputs\/huge has more/],
  ])("%s fail the job", async (_, script, message) => {
    const job = await run(script);
    expect(job).toMatchObject({ state: "failed", reason: "output_limit", exit_code: 0, artifacts: [] });
    expect(job.message).toMatch(message);
    expect(await listed(job)).toEqual([]);
  });

  it("a worker that is killed while outputs are stored leaves none half there", async () => {
    const running = await submit("for i in 1 2 3 4 5 6; do head -c 8000000 /dev/urandom >/outputs/$i; done", {
      resources: { ...small.resources, disk: "128MiB" },
    });
    await waitFor("the first output", async () => (await listed(running)).length > 0, 30_000);
    await aether.programs.worker.kill();
    const job = await ended(running.id);
    expect(["lost", "succeeded"]).toContain(job.state);
    for (const { id, sha256: digest, size_bytes } of (await listed(job)) as Artifact[]) {
      const artifact = await aether.client.artifacts.get(id);
      expect([sha256(readFileSync(artifact.path ?? "")), size_bytes]).toEqual([digest, 8_000_000]);
    }
  });

  it("a host gets and gives nothing of an attempt that it does not hold, nor anything by other operations", async () => {
    const input = await put("secret");
    const held = await submit("exec sleep 600", { inputs: [{ artifact: input.id, path: "/inputs/a" }] });
    await waitFor("it to run", async () => (await aether.client.jobs.get(held.id)).state === "running");
    await using bus = await aether.connect("worker-host-b");
    const envelope = { envelope: { request_id: createId("req") } };
    const attempt = { job_id: held.id, attempt: 1, secret: "0".repeat(32) };
    const { transfer } = (await requestAsGateway(input.id)) as { transfer: string };
    await expect(request(bus, takeInput, { ...attempt, id: input.id }, envelope)).rejects.toMatchObject({
      slug: "conflict",
    });
    const output = { name: "a", type: "text/plain", size_bytes: 1 };
    await expect(request(bus, giveOutput, { ...attempt, ...output }, envelope)).rejects.toMatchObject({
      slug: "conflict",
    });
    // Not even the secret of a transfer that somebody else has begun is of use.
    await expect(
      request(bus, readChunks, { transfer, index: 0, count: 1, to: "0".repeat(32) }, envelope),
    ).rejects.toMatchObject({ slug: "conflict" });
    const { id } = input;
    await expect(request(bus, getArtifact, { id }, envelope)).rejects.toMatchObject({ slug: "unavailable" });
    await expect(request(bus, downloadArtifact, { id }, envelope)).rejects.toMatchObject({ slug: "unavailable" });
    await expect(request(bus, deleteArtifact, { id }, envelope)).rejects.toMatchObject({ slug: "unavailable" });
    await aether.client.jobs.kill(held.id);
  });

  async function requestAsGateway(id: string) {
    await using bus = await aether.connect("gateway");
    const principal = { type: "User" as const, id: "0", roles: ["operator" as const] };
    const envelope = { envelope: { request_id: createId("req"), principal } };
    return (await request(bus, downloadArtifact, { id }, envelope)).reply;
  }

  it("outputs wait for artifacts to come back", async () => {
    await aether.programs.artifacts.kill();
    const job = await run("echo kept >/outputs/a");
    expect(job).toMatchObject({ state: "succeeded", artifacts: [{ path: "/outputs/a" }] });
  });
});
