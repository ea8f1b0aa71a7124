// `aether secrets` and `aether run --secret` against the whole system: the value comes from where nobody else looks, and goes
// nowhere but into the job.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installation, missingBackend, startInstallation } from "./_cli.ts";

const missing = missingBackend();
const main = join(import.meta.dirname, "../src/main.ts");
const value = "correct horse";

describe.skipIf(missing)(`aether secrets${missing ? `: ${missing}` : ""}`, () => {
  let aether: Installation;
  beforeAll(async () => {
    aether = await startInstallation();
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  const inJob = async (name: string) => {
    const { stdout } = await aether.run([
      "run",
      "--memory",
      "64m",
      "--secret",
      `${name}:it`,
      "--",
      "cat",
      "/secrets/it",
    ]);
    return stdout;
  };

  it("takes a value as standard input and from a file, byte for byte", async () => {
    expect(await aether.run(["secrets", "set", "piped"], { input: `${value}\n` })).toMatchObject({
      code: 0,
      stdout: "piped\n",
    });
    expect(await inJob("piped")).toBe(`${value}\n`);
    const file = join(aether.home, "value");
    writeFileSync(file, value);
    expect((await aether.run(["secrets", "set", "filed", "-f", file, "--label", "use=test"])).code).toBe(0);
    expect(await inJob("filed")).toBe(value);
  });

  it("takes a value typed at a terminal, which does not show it", async () => {
    const words = [process.execPath, main, "secrets", "set", "typed"].map((word) => `'${word}'`).join(" ");
    const child = spawn("script", ["-qec", words, "/dev/null"], { env: { ...process.env, AETHER_HOME: aether.home } });
    let shown = "";
    child.stdout.on("data", (chunk: Buffer) => {
      shown += chunk.toString();
    });
    await waitFor("the prompt", () => shown.includes("typed: "), 20_000);
    child.stdin.write(`${value}\r`);
    const [code] = await once(child, "close");
    expect([code, shown.includes("horse")]).toEqual([0, false]);
    expect(await inJob("typed")).toBe(value);
  });

  it("lists and deletes, and shows no value", async () => {
    const { stdout } = await aether.run(["secrets", "ls"]);
    expect(stdout).toMatch(/^filed +1 +13 B .*use=test$/m);
    expect(stdout).not.toContain("horse");
    expect((await aether.run(["secrets", "rm", "filed", "typed", "piped"])).stdout).toBe("filed\ntyped\npiped\n");
    expect((await aether.run(["secrets", "ls", "-q"])).stdout).toBe("");
    expect((await aether.run(["secrets", "rm", "filed"])).code).toBe(4);
  });

  it.each([
    ["a value as an argument", ["secrets", "set", "db", "hunter2"], /Unexpected argument/],
    ["a name that is none", ["secrets", "set", "../db"], /^aether: NAME: must be letters/],
    ["no value", ["secrets", "set", "db"], /the value is empty/],
    ["a file that is not there", ["secrets", "set", "db", "-f", "/nowhere"], /cannot be read/],
    ["a secret that is not there", ["run", "--secret", "none", "true"], /there is no secret user:\d+\/none/],
  ])("refuses %s", async (_, args, message) => {
    const { code, stderr } = await aether.run(args, { input: "" });
    expect([2, 125]).toContain(code);
    expect(stderr).toMatch(message);
  });
});
