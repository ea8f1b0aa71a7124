// `aether memory` against a whole installation, whose core has given up root.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installation, missingBackend, startInstallation } from "./_cli.ts";

const missing = missingBackend();

describe.skipIf(missing)(`aether memory${missing ? `: ${missing}` : ""}`, () => {
  let aether: Installation;
  const folder = tempDir();
  beforeAll(async () => {
    aether = await startInstallation();
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  const add = async (...args: string[]) => {
    const { code, stdout, stderr } = await aether.run(["memory", "add", ...args]);
    expect([code, stderr]).toEqual([0, ""]);
    return stdout.trim();
  };

  it("keeps a note and finds it, with where it stands", async () => {
    const id = await add("The spare key hangs behind the ficus.", "--author", "Ada", "-l", "room=hall");
    expect(id).toMatch(/^mem_[0-9a-z]{26}$/);
    const found = await aether.run(["memory", "search", "where", "are", "the", "spare", "keys?"]);
    expect(found.code).toBe(0);
    expect(found.stdout).toContain(`${id}#L1\n  ${id}  Ada`);
    expect(found.stdout).toContain("The spare key hangs");
    const json = await aether.run(["memory", "search", "--json", "-l", "room=hall", "ficus"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ mode: "lexical", results: [{ id, trust: "user" }] });
    expect(await aether.run(["memory", "search", "quokka"])).toMatchObject({ code: 1, stdout: "" });
  });

  it("keeps a file and standard input as documents, and shows some lines of them", async () => {
    const file = join(folder.path, "guide.md");
    writeFileSync(file, "# Boat\n\nPaint the hull.\n\n## Engine\n\nThe impeller wants grease.\n");
    const id = await add("-f", file);
    const shown = await aether.run(["memory", "show", `${id}#L7`, "-C", "2"]);
    expect(shown.stdout).toMatch(/## Engine\n\nThe impeller wants grease\.\n$/);
    expect(shown.stdout).toContain(`${file}#L5-L7 (`);
    const piped = await aether.run(["memory", "add", "-f", "-", "--title", "Piped"], { input: "wind and weather\n" });
    expect(JSON.parse((await aether.run(["memory", "show", "--json", piped.stdout.trim()])).stdout)).toMatchObject({
      title: "Piped",
      kind: "document",
      text: "wind and weather\n",
    });
  });

  it("forgets", async () => {
    const id = await add("A secret about quokkas.");
    expect(await aether.run(["memory", "rm", id])).toMatchObject({ code: 0, stdout: `${id}\n` });
    expect(await aether.run(["memory", "show", id])).toMatchObject({ code: 4 });
    expect(await aether.run(["memory", "search", "quokkas"])).toMatchObject({ code: 1 });
  });

  it("says what is wrong before it asks, and what is refused", async () => {
    for (const args of [
      ["add"],
      ["add", "a", "-f", "b"],
      ["add", "a", "--trust", "much"],
      ["search", "-n", "0", "a"],
      ["show", "x"],
    ])
      expect(await aether.run(["memory", ...args]), args.join(" ")).toMatchObject({ code: 2, stdout: "" });
    await add("Only once.");
    const twice = await aether.run(["memory", "add", "only ONCE."]);
    expect(twice.code).toBe(5);
    expect(twice.stderr).toContain("says the same");
  });
});
