import { createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { Keys } from "./key-file.ts";
import { KeyMissing, open, reseal, SealBroken, type Sealed, seal } from "./seal.ts";

const about = { owner: "user:1000", name: "db", value_id: "one" };
const value = Buffer.from("correct horse");

const secrets: Record<string, KeyObject> = {
  a: createSecretKey(randomBytes(32)),
  b: createSecretKey(randomBytes(32)),
};

/** Keys of these names, the first one in use. */
function keysOf(...ids: ["a" | "b", ...("a" | "b")[]]): Keys {
  const keys = ids.map((id) => ({ id, secret: secrets[id] as KeyObject }));
  return { current: keys[0] as (typeof keys)[number], find: (id) => keys.find((key) => key.id === id) ?? null };
}

function flipped(text: string, at: number): string {
  const bytes = Buffer.from(text, "base64");
  const place = at < 0 ? bytes.length + at : at;
  bytes[place] = (bytes[place] ?? 0) ^ 1;
  return bytes.toString("base64");
}

describe("a sealed value", () => {
  const keys = keysOf("a");

  it("opens to what it was, and looks different each time", () => {
    const sealed = seal(keys, about, value);
    expect(open(keys, about, sealed).equals(value)).toBe(true);
    const again = seal(keys, about, value);
    expect([again.value === sealed.value, again.data_key === sealed.data_key]).toEqual([false, false]);
  });

  const broken: [string, (sealed: Sealed) => Sealed][] = [
    ["nonce", (sealed) => ({ ...sealed, value: flipped(sealed.value, 0) })],
    ["first byte", (sealed) => ({ ...sealed, value: flipped(sealed.value, 12) })],
    ["tag", (sealed) => ({ ...sealed, value: flipped(sealed.value, -1) })],
    ["key", (sealed) => ({ ...sealed, data_key: flipped(sealed.data_key, 20) })],
    ["end", (sealed) => ({ ...sealed, value: Buffer.from(sealed.value, "base64").subarray(0, -1).toString("base64") })],
    ["everything", (sealed) => ({ ...sealed, value: "" })],
    ["other half", (sealed) => ({ ...sealed, data_key: seal(keys, about, value).data_key })],
  ];
  it.each(broken)("with another %s opens nowhere", (_, change) => {
    expect(() => open(keys, about, change(seal(keys, about, value)))).toThrow(SealBroken);
  });

  it.each([
    ["owner", { ...about, owner: "user:1001" }],
    ["name", { ...about, name: "dc" }],
    ["value", { ...about, value_id: "two" }],
  ])("opens in no place of another %s", (_, elsewhere) => {
    const sealed = seal(keys, about, value);
    expect(() => open(keys, elsewhere, sealed)).toThrow(SealBroken);
    expect(() => reseal(keys, elsewhere, sealed)).toThrow(SealBroken);
  });

  it("sealed anew opens under the key in use alone, and its value lies as it did", () => {
    const sealed = seal(keys, about, value);
    const anew = reseal(keysOf("b", "a"), about, sealed);
    expect([anew.key_id, anew.value]).toEqual(["b", sealed.value]);
    expect(open(keysOf("b"), about, anew).equals(value)).toBe(true);
    expect(() => open(keys, about, anew)).toThrow(KeyMissing);
    expect(() => open(keysOf("b"), about, sealed)).toThrow(/key a, which the key file does not hold/);
  });
});
