// Signed checkpoints of the log: a note that says "so many records, and the chain ended with this hash", signed with a key that
// only policy holds, and kept in two places. Whoever rewrites the log must rewrite both places too, and cannot sign.
//
// A note has the form of C2SP tlog-checkpoint and signed-note (https://c2sp.org/signed-note): three lines, an empty one, the
// signature. The hash is the chain's, not a Merkle root.
import { createHash, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ChainEnd } from "./record.ts";
import { openSigningKey } from "./signing-key.ts";

const origin = "aether-audit";
const signer = "aether-policy";
const notePattern = /aether-audit\n(\d+)\n([A-Za-z0-9+/=]+)\n\n— aether-policy ([A-Za-z0-9+/=]+)\n/gy;

export interface Checkpoints {
  /** The two files. */
  readonly places: readonly [string, string];
  /** The signed note for a chain's end. */
  sign(end: ChainEnd): string;
  /** The end that a note speaks of; null where this key did not sign it. */
  verify(note: string): ChainEnd | null;
  /** Appends a note to both places, synced. */
  append(note: string): Promise<void>;
  /** Null where the public key beside the copies is this key's; else what is wrong. */
  keyFault(): Promise<string | null>;
}

/** Opens the checkpoints; the key is made on first use. Folders exist. */
export function openCheckpoints(folder: string, copyFolder: string): Checkpoints {
  const key = openSigningKey(join(folder, "checkpoint.key"));
  const publicKey = createPublicKey(key);
  const publicPem = publicKey.export({ type: "spki", format: "pem" }).toString();
  const publicFile = join(copyFolder, "audit-checkpoint.pub");
  if (!existsSync(publicFile)) writeFileSync(publicFile, publicPem, { flush: true });
  const places = [join(folder, "checkpoints"), join(copyFolder, "audit-checkpoints")] as const;
  for (const place of places) dropTornEnd(place);
  const keyId = keyIdOf(publicKey);
  return {
    places,
    sign(end) {
      const text = `${origin}\n${end.seq}\n${Buffer.from(end.hash, "hex").toString("base64")}\n`;
      const signature = Buffer.concat([keyId, sign(null, Buffer.from(text), key)]).toString("base64");
      return `${text}\n— ${signer} ${signature}\n`;
    },
    verify(note) {
      const [found] = parseNotes(note).notes;
      if (!found) return null;
      const signature = Buffer.from(found.signature, "base64");
      if (!signature.subarray(0, 4).equals(keyId)) return null;
      return verify(null, Buffer.from(found.text), publicKey, signature.subarray(4)) ? found.end : null;
    },
    async append(note) {
      for (const place of places) {
        await using file = await open(place, "a", 0o640);
        const { size } = await file.stat();
        try {
          await file.appendFile(note);
          await file.sync();
        } catch (error) {
          await file.truncate(size).catch(() => {}); // half a note is dropped at the next start
          throw error;
        }
      }
    },
    async keyFault() {
      const copied = await readFile(publicFile, "utf8").catch(() => null);
      if (copied === null) return "the public key beside the copied checkpoints is missing";
      return copied === publicPem ? null : "the public key beside the copied checkpoints is another one";
    },
  };
}

interface ParsedNote {
  note: string;
  text: string;
  signature: string;
  end: ChainEnd;
}

/** The notes of a file, and how many characters at its end belong to none. */
export function parseNotes(content: string): { notes: ParsedNote[]; rest: number } {
  const notes: ParsedNote[] = [];
  let read = 0;
  for (const found of content.matchAll(notePattern)) {
    const [note, seq = "", root = "", signature = ""] = found;
    const end = { seq: Number(seq), hash: Buffer.from(root, "base64").toString("hex") };
    notes.push({ note, text: `${origin}\n${seq}\n${root}\n`, signature, end });
    read = found.index + note.length;
  }
  return { notes, rest: content.length - read };
}

/** A crash may leave half a note at the end of a file; only a whole one says anything. */
function dropTornEnd(file: string): void {
  if (!existsSync(file)) return;
  const content = readFileSync(file, "utf8");
  const { rest } = parseNotes(content);
  if (rest > 0 && rest < 400) truncateSync(file, Buffer.byteLength(content.slice(0, content.length - rest)));
}

/** C2SP: the first four bytes of SHA-256 over name, newline, algorithm 1 and the raw public key. */
function keyIdOf(publicKey: KeyObject): Buffer {
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  return createHash("sha256")
    .update(`${signer}\n`)
    .update(Buffer.from([1]))
    .update(raw)
    .digest()
    .subarray(0, 4);
}
