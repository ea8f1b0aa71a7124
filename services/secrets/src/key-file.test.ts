import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { readKeys } from "./key-file.ts";

const line = (digit: string) => `${digit.repeat(64)}\n`;

describe("the key file", () => {
  it("is made once, of the owner alone, and stays as it is", () => {
    using folder = tempDir();
    const file = join(folder.path, "secrets.keys");
    const made = readKeys(file).current.id;
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "latin1")).toMatch(/^[0-9a-f]{64}\n$/);
    expect(readKeys(file).current.id).toBe(made);
    expect(readdirSync(folder.path)).toEqual(["secrets.keys"]);
  });

  it("has the key in use on top and finds the older ones by their names, which tell nothing of them", () => {
    using folder = tempDir();
    const file = join(folder.path, "secrets.keys");
    writeFileSync(file, line("a"), { mode: 0o600 });
    const older = readKeys(file).current;
    writeFileSync(file, line("b") + line("a"));
    const keys = readKeys(file);
    expect(keys.current.id).not.toBe(older.id);
    expect([keys.find(older.id)?.id, keys.find("none")]).toEqual([older.id, null]);
    expect(line("a") + line("b")).not.toContain(older.id);
  });

  it.each([
    ["that is empty", ""],
    ["that is cut short", "abc\n"],
    ["that holds something else", `${line("a")}password\n`],
    ["in capitals", line("A")],
  ])("%s is refused, and not written over", (_, text) => {
    using folder = tempDir();
    const file = join(folder.path, "secrets.keys");
    writeFileSync(file, text, { mode: 0o600 });
    expect(() => readKeys(file)).toThrow(/is not a file of keys.*restore it/);
    expect(readFileSync(file, "latin1")).toBe(text);
  });

  it("that others may read is refused", () => {
    using folder = tempDir();
    const file = join(folder.path, "secrets.keys");
    readKeys(file);
    chmodSync(file, 0o640);
    expect(() => readKeys(file)).toThrow(/may be read by others/);
  });
});
