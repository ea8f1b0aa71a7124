import { nkeys } from "@nats-io/transport-node";
import { describe, expect, it } from "vitest";
import { publicKeyOf, seedAuthenticator } from "./nkey.ts";

const seeds = Array.from({ length: 20 }, () => new TextDecoder().decode(nkeys.createUser().getSeed()));

describe("nkey", () => {
  it("has the public key that the client library has", () => {
    for (const seed of seeds) {
      expect(publicKeyOf(seed)).toBe(nkeys.fromSeed(new TextEncoder().encode(seed)).getPublicKey());
    }
  });

  it("signs what the client library verifies", () => {
    const nonce = "k3Yp6bQvJz0";
    for (const seed of seeds) {
      const auth = seedAuthenticator(`${seed}\n`)(nonce);
      if (!auth || !("nkey" in auth) || !("sig" in auth)) throw new Error("no signature");
      const signature = Buffer.from(String(auth.sig), "base64");
      expect(nkeys.fromPublic(String(auth.nkey)).verify(Buffer.from(nonce), signature)).toBe(true);
    }
  });

  it("refuses what is no user's seed", () => {
    const [seed = ""] = seeds;
    const account = new TextDecoder().decode(nkeys.createAccount().getSeed());
    const damaged = `${seed.slice(0, 20)}${seed[20] === "A" ? "B" : "A"}${seed.slice(21)}`;
    for (const wrong of ["", "SU", "not base32!", account, damaged]) {
      expect(() => publicKeyOf(wrong)).toThrow("not the seed");
    }
  });
});
