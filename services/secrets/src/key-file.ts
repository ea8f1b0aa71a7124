// The keys of an installation: a file of root's (or of whoever runs Aether) with one key a line, the one in use first. Older
// ones stand below it for as long as values are kept under them, so putting a new line on top is how keys are changed. The
// file is made whole or not at all, and never over another one: what is lost with a key cannot be read again.
import { createHash, createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, statSync, unlinkSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const keyBytes = 32;
const linePattern = /^[0-9a-f]{64}$/;

/** A key with a name that tells nothing of it. */
interface Key {
  readonly id: string;
  readonly secret: KeyObject;
}

export interface Keys {
  /** What new values are kept under. */
  readonly current: Key;
  /** The key of that name; null where the file does not hold it. */
  find(id: string): Key | null;
}

/** Reads the keys, after making the first one where there is no file; throws, with the mend, where it is not a file of keys. */
export function readKeys(file: string): Keys {
  const text = readOrMake(file);
  const mode = statSync(file).mode & 0o077;
  if (mode !== 0) throw new Error(`${file} may be read by others: chmod 0600 it, and change the key where it was`);
  const lines = text
    .toString("latin1")
    .split("\n")
    .filter((line) => line !== "");
  text.fill(0);
  if (lines.length === 0 || !lines.every((line) => linePattern.test(line))) {
    throw new Error(`${file} is not a file of keys (64 hexadecimal digits a line); restore it from where it was kept`);
  }
  const keys = lines.map(toKey);
  const [current] = keys as [Key];
  return { current, find: (id) => keys.find((key) => key.id === id) ?? null };
}

function toKey(line: string): Key {
  const bytes = Buffer.from(line, "hex");
  const id = createHash("sha256").update("aether.secrets.key\n").update(bytes).digest("hex").slice(0, 16);
  const secret = createSecretKey(bytes);
  bytes.fill(0);
  return { id, secret };
}

function readOrMake(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
  const draft = `${file}.${process.pid}`;
  const fd = openSync(draft, "wx", 0o600);
  writeSync(fd, `${randomBytes(keyBytes).toString("hex")}\n`);
  fsyncSync(fd);
  closeSync(fd);
  try {
    linkSync(draft, file); // where another instance was first, its key stands
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  } finally {
    unlinkSync(draft);
  }
  const folder = openSync(dirname(file), "r");
  fsyncSync(folder);
  closeSync(folder);
  return readFileSync(file);
}

const codeOf = (error: unknown) => (error as { code?: unknown }).code;
