// Signed checkpoints of the log: a note that says "so many records, and the chain ended with this hash", signed with a key that
// only policy holds, and kept in two places. Whoever rewrites the log must rewrite both places too, and cannot sign.
import { createPublicKey } from "node:crypto";
import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ChainEnd, noteKey, parseNotes, signNote, verifyNote } from "@aether/chain";
import { openSigningKey } from "./signing-key.ts";

export interface Checkpoints {
  /** The two files. */
  readonly places: readonly [string, string];
  /** The record that the newest checkpoint spoke of when this was opened; 0 where there was none. */
  readonly newestSeq: number;
  /** What notes are held against. */
  readonly key: ReturnType<typeof noteKey>;
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
  const privateKey = openSigningKey(join(folder, "checkpoint.key"));
  const publicKey = createPublicKey(privateKey);
  const publicPem = publicKey.export({ type: "spki", format: "pem" }).toString();
  const publicFile = join(copyFolder, "audit-checkpoint.pub");
  if (!existsSync(publicFile)) writeFileSync(publicFile, publicPem, { flush: true });
  const places = [join(folder, "checkpoints"), join(copyFolder, "audit-checkpoints")] as const;
  const newestSeq = Math.max(...places.map(dropTornEnd));
  const key = noteKey(publicKey);
  return {
    places,
    newestSeq,
    key,
    sign: (end) => signNote(end, privateKey, key),
    verify: (note) => verifyNote(note, key),
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

/** A crash may leave half a note at the end of a file; only a whole one says anything. Answers what the newest speaks of. */
function dropTornEnd(file: string): number {
  if (!existsSync(file)) return 0;
  const content = readFileSync(file, "utf8");
  const { notes, rest } = parseNotes(content);
  if (rest > 0 && rest < 400) truncateSync(file, Buffer.byteLength(content.slice(0, content.length - rest)));
  return Math.max(0, ...notes.map(({ end }) => end.seq));
}
