// Keys of NATS users, signed with by Node's own Ed25519: the client library's is JavaScript and costs a tenth of a second a
// connection where a process has just started.
//
// A seed is base32 without padding of two prefix bytes, 32 secret bytes and a checksum; a public key of one prefix byte, the 32
// bytes of the key and a checksum, low byte first (https://docs.nats.io: "NKeys").
import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import type { Authenticator } from "@nats-io/transport-node";

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const userPrefix = 20 << 3;
const userSeedPrefix = Buffer.from([(18 << 3) | (userPrefix >> 5), (userPrefix & 31) << 3]);
const secretBytes = 32;
/** What PKCS #8 puts before the secret of an Ed25519 key. */
const pkcs8Head = Buffer.from("302e020100300506032b657004220420", "hex");

/** The public key of a user's seed. */
export function publicKeyOf(seed: string): string {
  return encodePublic(parseSeed(seed));
}

/** Answers the server's challenge with the seed's key. */
export function seedAuthenticator(seed: string): Authenticator {
  const key = parseSeed(seed);
  const nkey = encodePublic(key);
  return (nonce) => ({ nkey, sig: nonce ? sign(null, Buffer.from(nonce), key).toString("base64") : "" });
}

function parseSeed(seed: string): KeyObject {
  const bytes = decodeBase32(seed.trim());
  const body = bytes.subarray(0, -2);
  const isSeed = body.length === 2 + secretBytes && body.subarray(0, 2).equals(userSeedPrefix);
  if (!isSeed || crc16(body) !== bytes.readUInt16LE(body.length))
    throw new Error("this is not the seed of a NATS user");
  return createPrivateKey({ key: Buffer.concat([pkcs8Head, body.subarray(2)]), format: "der", type: "pkcs8" });
}

function encodePublic(key: KeyObject): string {
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  const body = Buffer.concat([Buffer.from([userPrefix]), spki.subarray(-32)]);
  const checksum = Buffer.alloc(2);
  checksum.writeUInt16LE(crc16(body));
  return encodeBase32(Buffer.concat([body, checksum]));
}

function encodeBase32(bytes: Buffer): string {
  let [text, value, bits] = ["", 0, 0];
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff;
    for (bits += 8; bits >= 5; bits -= 5) text += alphabet[(value >> (bits - 5)) & 31];
  }
  return bits > 0 ? text + alphabet[(value << (5 - bits)) & 31] : text;
}

function decodeBase32(text: string): Buffer {
  const bytes: number[] = [];
  let [value, bits] = [0, 0];
  for (const letter of text) {
    const digit = alphabet.indexOf(letter);
    if (digit < 0) throw new Error("this is not the seed of a NATS user");
    value = ((value << 5) | digit) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((value >> bits) & 255);
    }
  }
  return Buffer.from(bytes);
}

/** CRC-16/XMODEM. */
function crc16(bytes: Buffer): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  return crc;
}
