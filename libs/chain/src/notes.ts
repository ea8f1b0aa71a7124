// Signed checkpoints: a note that says "so many records, and the chain ended with this hash". Its form is that of C2SP
// tlog-checkpoint and signed-note (https://c2sp.org/signed-note): three lines, an empty one, the signature. The hash is the
// chain's, not a Merkle root.
import { createHash, type KeyObject, sign, verify } from "node:crypto";
import type { ChainEnd } from "./line.ts";

const origin = "aether-audit";
const signer = "aether-policy";
const notePattern = /aether-audit\n(\d+)\n([A-Za-z0-9+/=]+)\n\n— aether-policy ([A-Za-z0-9+/=]+)\n/gy;

/** The public key that notes are held against, and the four bytes that name it in them. */
export interface NoteKey {
  key: KeyObject;
  id: Buffer;
}

export interface Note {
  /** All of it, as it stands in a file. */
  note: string;
  end: ChainEnd;
}

/** A public key as notes name it. C2SP: the first four bytes of SHA-256 over name, newline, algorithm 1 and the raw key. */
export function noteKey(key: KeyObject): NoteKey {
  const raw = key.export({ type: "spki", format: "der" }).subarray(-32);
  const named = createHash("sha256")
    .update(`${signer}\n`)
    .update(Buffer.from([1]))
    .update(raw);
  return { key, id: named.digest().subarray(0, 4) };
}

/** The signed note for a chain's end. */
export function signNote(end: ChainEnd, privateKey: KeyObject, { id }: NoteKey): string {
  const text = textOf(String(end.seq), Buffer.from(end.hash, "hex").toString("base64"));
  const signature = Buffer.concat([id, sign(null, Buffer.from(text), privateKey)]).toString("base64");
  return `${text}\n— ${signer} ${signature}\n`;
}

/** The end that a note speaks of; null where this key did not sign it. */
export function verifyNote(note: string, { key, id }: NoteKey): ChainEnd | null {
  const [found] = note.matchAll(notePattern);
  if (!found) return null;
  const [, seq = "", root = "", written = ""] = found;
  const signature = Buffer.from(written, "base64");
  if (!signature.subarray(0, 4).equals(id)) return null;
  return verify(null, Buffer.from(textOf(seq, root)), key, signature.subarray(4)) ? endOf(seq, root) : null;
}

/** The notes of a file, and how many characters at its end belong to none. */
export function parseNotes(content: string): { notes: Note[]; rest: number } {
  const notes: Note[] = [];
  let read = 0;
  for (const found of content.matchAll(notePattern)) {
    const [note, seq = "", root = ""] = found;
    notes.push({ note, end: endOf(seq, root) });
    read = found.index + note.length;
  }
  return { notes, rest: content.length - read };
}

const textOf = (seq: string, root: string) => `${origin}\n${seq}\n${root}\n`;
const endOf = (seq: string, root: string): ChainEnd => ({
  seq: Number(seq),
  hash: Buffer.from(root, "base64").toString("hex"),
});
