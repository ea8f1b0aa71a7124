// An audit record and its place in the chain. A record is written as canonical JSON (sorted keys, no spaces); its hash is the
// SHA-256 of that text without `hash`, and it names the hash of the record before. A message of the stream, and a segment
// file, hold one record per line.
import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { type AuditRecord, createId, hasOwnersUid, type Principal } from "@aether/contracts";

/** A record before it has its place. */
export type Draft = Omit<AuditRecord, "seq" | "prev" | "hash">;

/** Where the chain ends. */
export interface ChainEnd {
  seq: number;
  hash: string;
}

export const chainStart: ChainEnd = { seq: 0, hash: "0".repeat(64) };

const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

/** A draft with what most records leave empty. */
export function createDraft(fields: Pick<Draft, "kind" | "actor" | "action"> & Partial<Draft>): Draft {
  return {
    id: createId("aud"),
    ts: { wall: new Date().toISOString(), monotonic_ns: String(process.hrtime.bigint()), boot_id: bootId },
    intent_id: null,
    job_id: null,
    resource: null,
    decision: null,
    provenance: { request_id: null, digest: null, source: null },
    outcome: null,
    note: null,
    count: 1,
    ...fields,
  };
}

/** A principal as records write it. */
export function toActor(principal: Principal, via: string): AuditRecord["actor"] {
  const { type, id, uid = null, gid = null, pid = null, owner = null } = principal;
  return { type, id, uid, gid, pid, owner, same_uid: hasOwnersUid(principal), via };
}

/** The policy service itself, the actor of records about the log. */
export const policyActor = toActor({ type: "Service", id: "policy", roles: [], pid: process.pid }, "policy");

/** A draft as the pieces of its canonical text, so that its size is known before its place is. */
export interface Prepared {
  /** Keys before `hash`, between `hash` and `prev`, between `prev` and `seq`, after `seq`. */
  pieces: readonly [string, string, string, string];
  sizeBytes: number;
}

const decisionKeys = ["approval", "grant", "outcome", "policies", "policy_version", "reason", "token"] as const;
const placeBytes = 200; // `"hash":"…","prev":"…","seq":…` and a newline

/**
 * Writes a draft's canonical text, leaving out its place. Every object is made anew with its keys in order, so that
 * JSON.stringify writes what `canonicalJson` would, at a fraction of its cost.
 */
export function prepare(draft: Draft): Prepared {
  const { action, count, id, intent_id, job_id, kind, note } = draft;
  const { gid, owner, pid, same_uid, type, uid, via } = draft.actor;
  const { boot_id, monotonic_ns, wall } = draft.ts;
  const actor = { gid, id: draft.actor.id, owner, pid, same_uid, type, uid, via };
  const outcome = draft.outcome && inOrder(draft.outcome, ["at", "attempt", "from", "reason", "to"]);
  const decision = draft.decision && inOrder(draft.decision, decisionKeys);
  const resource = draft.resource && inOrder(draft.resource, ["id", "type"]);
  const { digest, request_id, source } = draft.provenance;
  const provenance = { digest, request_id, source: source && inOrder(source, ["sequence", "stream"]) };
  const text = (fields: object) => JSON.stringify(fields).slice(1, -1);
  const pieces = [
    `${text({ action, actor, count, decision })},`,
    `${text({ id, intent_id, job_id, kind, note, outcome })},`,
    `${text({ provenance, resource })},`,
    text({ ts: { boot_id, monotonic_ns, wall } }),
  ] as const;
  return { pieces, sizeBytes: pieces.reduce((sum, piece) => sum + Buffer.byteLength(piece), placeBytes) };
}

/** The object with these keys, which are all of its keys, in this order. */
function inOrder<T extends object, const K extends readonly (keyof T)[]>(
  object: T,
  keys: Exclude<keyof T, K[number]> extends never ? K : never,
): Partial<T> {
  const ordered: Partial<T> = {};
  for (const key of keys) ordered[key] = object[key];
  return ordered;
}

/** The line of a record that follows `end`, and the chain's new end. */
export function place({ pieces: [a, b, c, d] }: Prepared, end: ChainEnd): { line: string; end: ChainEnd } {
  const seq = end.seq + 1;
  const rest = `"prev":"${end.hash}",${c}"seq":${seq},${d}}`;
  const digest = hash("sha256", `{${a}${b}${rest}`, "hex");
  return { line: `{${a}"hash":"${digest}",${b}${rest}`, end: { seq, hash: digest } };
}

/** JSON with sorted keys and no spaces: the same value is the same text. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const pairs = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${pairs.map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner)}`).join(",")}}`;
}

/** Why a record does not follow `end`; null where it does. */
export function faultOf(record: Record<string, unknown>, end: ChainEnd): string | null {
  const { hash: written, ...rest } = record;
  if (record.seq !== end.seq + 1) return `record ${String(record.seq)} stands where ${end.seq + 1} belongs`;
  if (record.prev !== end.hash) return "it does not name the hash of the record before";
  return hash("sha256", canonicalJson(rest), "hex") === written ? null : "its content does not have its hash";
}
