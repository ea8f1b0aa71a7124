import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { readContentDigest, toReprDigest } from "./content-digest.ts";

const digest = createHash("sha256").update("x").digest();
const base64 = digest.toString("base64");

describe("an announced digest", () => {
  it.each([
    ["as RFC 9530 says", { "content-digest": `sha-256=:${base64}:` }],
    ["among others", { "content-digest": `sha-512=:AAAA:, sha-256=:${base64}:` }],
    ["as RFC 3230 says", { digest: `SHA-256=${base64}` }],
    ["as both", { "content-digest": `sha-256=:${base64}:`, digest: `sha-256=${base64}` }],
  ])("is read %s", (_, headers) => {
    expect(readContentDigest(headers)).toBe(digest.toString("hex"));
  });

  it("is none where there is none, or one of another kind", () => {
    expect(readContentDigest({})).toBeNull();
    expect(readContentDigest({ "content-digest": "sha-512=:AAAA:", digest: "md5=AAAA" })).toBeNull();
  });

  it.each([
    ["of another length", { "content-digest": "sha-256=:AAAA:" }],
    ["without colons", { "content-digest": `sha-256=${base64}` }],
    ["twice", { "content-digest": `sha-256=:${base64}:, sha-256=:${base64}:` }],
    ["that contradicts itself", { "content-digest": `sha-256=:${base64}:`, digest: `sha-256=${"A".repeat(43)}=` }],
  ])("is refused %s", (_, headers) => {
    expect(() => readContentDigest(headers)).toThrow(/digest/i);
  });

  it("is told as it is read", () => {
    expect(readContentDigest({ "content-digest": toReprDigest(digest.toString("hex")) })).toBe(digest.toString("hex"));
  });
});
