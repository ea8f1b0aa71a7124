// Digests as records have them: keyed by a secret of this installation. A request may hold a password of four letters, and the
// digest of such a request is the password for whoever tries all of them; a keyed one says nothing to anybody but this
// service. Whoever has the thing itself can still ask whether it was used: its digest is keyed again and looked for.
import { createHmac, createSecretKey, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const keyBytes = 32;
const keyed = "hmac-sha256:";

export interface Digests {
  /** A digest as records have it; one that is keyed already is left as it is. */
  key(digest: string): string;
}

/** Opens the digests; their key is made on first use and never changes: with another one nothing old is found. */
export function openDigests(keyFile: string): Digests {
  if (!existsSync(keyFile)) writeFileSync(keyFile, randomBytes(keyBytes), { mode: 0o600, flag: "wx", flush: true });
  const bytes = readFileSync(keyFile);
  if (bytes.length !== keyBytes) throw new Error(`${keyFile} is not the ${keyBytes} bytes of a key`);
  const key = createSecretKey(bytes); // made for each digest anew it costs ten times the digest
  return {
    key: (digest) =>
      digest.startsWith(keyed) ? digest : keyed + createHmac("sha256", key).update(digest).digest("hex"),
  };
}
