// The command line's side of artifacts, as a program of its own against the whole system.
import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const main = join(import.meta.dirname, "../apps/cli/src/main.ts");
const run = promisify(execFile);
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

describe.skipIf(missing)(`aether artifacts${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  const folder = tempDir();
  const at = (name: string) => join(folder.path, name);
  beforeAll(async () => {
    aether = await startAether();
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  const argv = (...words: string[]) => [main, ...words.slice(0, 1), "--socket", aether.socket, ...words.slice(1)];
  /** The command's name of two words goes before its options. */
  const cli = async (...words: string[]) => {
    const two = words[0] === "artifacts" ? 2 : 1;
    const args = [main, ...words.slice(0, two), "--socket", aether.socket, ...words.slice(two)];
    const { stdout, stderr } = await run(process.execPath, args, { cwd: folder.path });
    expect(stderr).toBe("");
    return stdout.trimEnd();
  };

  it("stores, lists, shows, copies and deletes files", async () => {
    const bytes = randomBytes(600_000);
    writeFileSync(at("report.pdf"), bytes);
    const id = await cli("artifacts", "put", "report.pdf", "--label", "team=cli");
    expect(id).toMatch(/^art_[0-9a-z]{26}$/);
    expect(await cli("artifacts", "ls", "-q", "--label", "team=cli")).toBe(id);
    expect(await cli("artifacts", "ls", "--type", "application/pdf")).toMatch(
      /^ARTIFACT .*\nart_.* report\.pdf +application\/pdf +585\.9 KiB/,
    );
    const shown = JSON.parse(await cli("artifacts", "show", "--json", id)) as { sha256: string; path: string };
    expect([shown.sha256, sha256(readFileSync(shown.path))]).toEqual([sha256(bytes), sha256(bytes)]);
    mkdirSync(at("into"));
    await cli("cp", `${id}:`, "into");
    expect(readFileSync(at("into/report.pdf")).equals(bytes)).toBe(true);
    await cli("artifacts", "get", id, "-o", at("again"));
    expect(readFileSync(at("again")).equals(bytes)).toBe(true);
    const copy = await cli("cp", "report.pdf", "art:other.bin");
    expect(JSON.parse(await cli("artifacts", "show", "--json", copy))).toMatchObject({
      name: "other.bin",
      sha256: sha256(bytes),
    });
    expect(await cli("artifacts", "rm", id, copy)).toBe(`${id}\n${copy}`);
    await expect(cli("artifacts", "get", id)).rejects.toMatchObject({ code: 4 });
    expect(readdirSync(folder.path).sort()).toEqual(["again", "into", "report.pdf"]);
  });

  it("gives a job an artifact, a file and a folder, and keeps what it names", async () => {
    const id = (await aether.client.artifacts.put(textOf("from artifact "), { name: "a" })).id;
    writeFileSync(at("b"), "from file ");
    mkdirSync(at("tree/deep"), { recursive: true });
    writeFileSync(at("tree/deep/c"), "from folder");
    const inputs = ["--input", `${id}:/inputs/a`, "--input", "b:/inputs/b", "--input", "tree:/workspace/tree"];
    const script = "mkdir out; cat /inputs/a /inputs/b tree/deep/c | tee out/all.txt";
    const out = await cli(
      "run",
      "--cpus",
      "0.5",
      ...inputs,
      "--output",
      "out/*.txt",
      "--name",
      "given",
      "--",
      "sh",
      "-c",
      script,
    );
    expect(out).toBe("from artifact from file from folder");
    const [job] = (await aether.client.jobs.list()).items;
    expect(job).toMatchObject({
      name: "given",
      artifacts: [{ path: "/workspace/out/all.txt", size_bytes: out.length }],
    });
    expect(await cli("inspect", job?.id ?? "")).toContain("/workspace/out/all.txt");
  });

  it("leaves nothing of a file that was broken off by Ctrl-C", async () => {
    const { id } = await aether.client.artifacts.put(textOf("x".repeat(48 * 1024 * 1024)), { name: "large" });
    const child = spawn(process.execPath, argv("cp", `${id}:`, at("large")), { stdio: "ignore" });
    await waitFor("the file to be begun", () =>
      readdirSync(folder.path).some((name) => name.startsWith("large.part-")),
    );
    child.kill("SIGINT");
    const [code] = (await once(child, "exit")) as [number];
    if (code === 0) return expect(readFileSync(at("large")).length).toBe(48 * 1024 * 1024); // it was faster than we were
    expect([code, existsSync(at("large"))]).toEqual([130, false]);
    expect(readdirSync(folder.path).filter((name) => name.startsWith("large"))).toEqual([]);
  });
});

async function* textOf(text: string) {
  const bytes = Buffer.from(text);
  for (let from = 0; from < bytes.length; from += 65_536) yield bytes.subarray(from, from + 65_536);
}
