// How a value lies in the store: AES-256-GCM under a data key of its own, which is sealed the same way under a key of the
// installation. Both are bound to owner, name and the value's own id, so that nothing sealed opens in another's place, and a changed byte
// opens nowhere. Changing the installation's key seals data keys anew and leaves values as they are.
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { z } from "zod";
import type { Keys } from "./key-file.ts";

/** What a sealed value belongs to. */
export interface About {
  owner: string;
  name: string;
  /** Names the value among all that a secret of this name ever had. */
  value_id: string;
}

/** Both in base64: nonce, ciphertext, tag. */
export const Sealed = z.object({ key_id: z.string(), data_key: z.string(), value: z.string() });
export type Sealed = z.infer<typeof Sealed>;

/** It does not open: it was changed, or is another's. */
export class SealBroken extends Error {
  constructor(what: string, options?: ErrorOptions) {
    super(`${what} does not open: it is not what was stored`, options);
    this.name = "SealBroken";
  }
}

/** It is sealed under a key that the installation's file does not hold. */
export class KeyMissing extends Error {
  constructor(id: string) {
    super(`it is kept under key ${id}, which the key file does not hold; restore that file`);
    this.name = "KeyMissing";
  }
}

const cipher = "aes-256-gcm";
const nonceBytes = 12;
const tagBytes = 16;
const keyBytes = 32;

export function seal(keys: Keys, about: About, value: Uint8Array): Sealed {
  const dataKey = randomBytes(keyBytes);
  try {
    return {
      key_id: keys.current.id,
      data_key: encrypt(keys.current.secret, dataKey, boundTo(about, "key")),
      value: encrypt(createSecretKey(dataKey), value, boundTo(about, "value")),
    };
  } finally {
    dataKey.fill(0);
  }
}

/** The value, for the caller to overwrite when it has done with it; throws SealBroken and KeyMissing. */
export function open(keys: Keys, about: About, sealed: Sealed): Buffer {
  const dataKey = openDataKey(keys, about, sealed);
  try {
    return decrypt(createSecretKey(dataKey), sealed.value, boundTo(about, "value"));
  } finally {
    dataKey.fill(0);
  }
}

/** The same value under the key in use. */
export function reseal(keys: Keys, about: About, sealed: Sealed): Sealed {
  const dataKey = openDataKey(keys, about, sealed);
  try {
    const key = encrypt(keys.current.secret, dataKey, boundTo(about, "key"));
    return { ...sealed, key_id: keys.current.id, data_key: key };
  } finally {
    dataKey.fill(0);
  }
}

function openDataKey(keys: Keys, about: About, { key_id, data_key }: Sealed): Buffer {
  const key = keys.find(key_id);
  if (!key) throw new KeyMissing(key_id);
  return decrypt(key.secret, data_key, boundTo(about, "key"));
}

function boundTo({ owner, name, value_id }: About, part: "key" | "value"): Buffer {
  return Buffer.from(JSON.stringify(["aether.secret/v1", part, owner, name, value_id]));
}

function encrypt(key: KeyObject, plain: Uint8Array, bound: Buffer): string {
  const nonce = randomBytes(nonceBytes);
  const sealing = createCipheriv(cipher, key, nonce, { authTagLength: tagBytes }).setAAD(bound);
  const parts = [nonce, sealing.update(plain), sealing.final()];
  return Buffer.concat([...parts, sealing.getAuthTag()]).toString("base64");
}

function decrypt(key: KeyObject, text: string, bound: Buffer): Buffer {
  const sealed = Buffer.from(text, "base64");
  if (sealed.length < nonceBytes + tagBytes) throw new SealBroken("a sealed value");
  const end = sealed.length - tagBytes;
  const opening = createDecipheriv(cipher, key, sealed.subarray(0, nonceBytes), { authTagLength: tagBytes });
  opening.setAAD(bound).setAuthTag(sealed.subarray(end));
  const plain = opening.update(sealed.subarray(nonceBytes, end));
  try {
    opening.final();
    return plain;
  } catch (error) {
    plain.fill(0);
    throw new SealBroken("a sealed value", { cause: error });
  }
}
