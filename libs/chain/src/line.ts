// One record as a line: canonical JSON (sorted keys, no spaces) with the SHA-256 of that text without its `hash`, and the hash
// of the record before.
//
// A line is judged as it stands, not as what was parsed from it: of two texts that a parser takes for one record, only the
// canonical one is a record. So the text that is there, its hash cut out, is the text that was hashed.
import { hash } from "node:crypto";

/** Where the chain ends. */
export interface ChainEnd {
  seq: number;
  hash: string;
}

export const chainStart: ChainEnd = { seq: 0, hash: "0".repeat(64) };

/** The chain's end behind this line, or why it is not the record that follows `end`. */
export function followLine(line: string, end: ChainEnd): ChainEnd | string {
  const record = parseLine(line);
  if (!record) return "it is not a record";
  const seq = end.seq + 1;
  if (record.seq !== seq) return `record ${String(record.seq)} stands where ${seq} belongs`;
  if (record.prev !== end.hash) return "it does not name the hash of the record before";
  if (!isCanonical(line, record)) return "it is not written as records are";
  const written = String(record.hash);
  return written === hashOf(line, written) ? { seq, hash: written } : "its content does not have its hash";
}

/** A line as an object; null where it is none. */
export function parseLine(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null; // not JSON is not a record, which the caller reports
  }
}

/** JSON with sorted keys and no spaces: the same value is the same text. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const pairs = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${pairs.map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner)}`).join(",")}}`;
}

// JSON.parse keeps the order of keys and JSON.stringify writes it: what comes out the same has no spaces, no key twice and no
// other way to write a number or a letter. With sorted keys that is `canonicalJson`, at a fifth of its cost.
function isCanonical(line: string, record: object): boolean {
  return JSON.stringify(record) === line && isSorted(record);
}

/** Walks keys without a list of them for each object, which alone would cost as much as parsing the line. */
function isSorted(value: object): boolean {
  if (Array.isArray(value)) return value.every((inner) => !isObject(inner) || isSorted(inner));
  let before = "";
  for (const key in value) {
    if (key < before) return false;
    const inner: unknown = (value as Record<string, unknown>)[key];
    if (isObject(inner) && !isSorted(inner)) return false;
    before = key;
  }
  return true;
}

const isObject = (value: unknown) => typeof value === "object" && value !== null;

/** Of the text without its `hash`: within a string its quotes would be escaped, so what is found is the member itself. */
function hashOf(line: string, written: string): string | null {
  const member = `,"hash":"${written}"`;
  const at = line.indexOf(member);
  return at < 0 ? null : hash("sha256", line.slice(0, at) + line.slice(at + member.length), "hex");
}
