import { hash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { canonicalJson, chainStart, followLine } from "./line.ts";

/** A line with the hash of whatever text it has. */
const seal = (text: string) => text.replace("…", hash("sha256", text.replace(',"hash":"…"', ""), "hex"));
const record = { action: "a", decision: { outcome: "allow", reason: 'with "quotes",\n ,"hash": and 🦆' }, note: null };
const line = seal(canonicalJson({ ...record, hash: "…", prev: chainStart.hash, seq: 1 }));

describe("a line", () => {
  it("follows the one before, and nothing else", () => {
    const end = followLine(line, chainStart);
    expect(end).toEqual({ seq: 1, hash: JSON.parse(line).hash });
    expect(followLine(line, { seq: 1, hash: "0" })).toMatch(/record 1 stands where 2 belongs/);
    expect(followLine(line, { seq: 0, hash: "0" })).toMatch(/hash of the record before/);
    expect(followLine(line.replace("allow", "denied"), chainStart)).toMatch(/does not have its hash/);
    expect(followLine(line.replace('"note"', '"nope":1,"note"'), chainStart)).toMatch(/does not have its hash/);
  });

  // Each says the same as the record, or says two things, and has the right hash of its own text.
  it.each([
    ["with a space", line.replace('"action":', '"action": ')],
    ["with a key twice", line.replace('"action":"a"', '"action":"b","action":"a"')],
    ["in another order", line.replace('"action":"a",', "").replace('"note":null', '"note":null,"action":"a"')],
    ["in another order within", line.replace(/\{"outcome":"allow",(.*?)\}/, '{$1,"outcome":"allow"}')],
    ["with a letter written otherwise", line.replace('"a"', '"\\u0061"')],
    ["with a number written otherwise", line.replace('"seq":1', '"seq":1.0')],
  ])("%s is none", (_, changed) => {
    const other = seal(changed.replace(/"hash":"[0-9a-f]{64}"/, '"hash":"…"'));
    expect(followLine(other, chainStart)).toMatch(/not written as records are/);
  });

  it.each(["", "null", "[1]", "{", '"text"', "{}"])("%j is none", (text) => {
    expect(followLine(text, chainStart)).toBeTypeOf("string");
  });

  it("with another hash within it has only its own", () => {
    const own = seal(
      canonicalJson({ ...record, decision: { hash: "0".repeat(64) }, hash: "…", prev: chainStart.hash, seq: 1 }),
    );
    expect(followLine(own, chainStart)).toMatchObject({ seq: 1 });
    const inner = canonicalJson({ ...record, decision: { a: 1, hash: "f".repeat(64) }, prev: chainStart.hash, seq: 1 });
    expect(followLine(inner, chainStart)).toMatch(/does not have its hash/);
  });
});
