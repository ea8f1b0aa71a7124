// Ids say what they are and sort by the time of their making: a prefix, then a ULID in lower case
// (https://github.com/ulid/spec: 48 bits of milliseconds, 80 random bits).
import { z } from "zod";

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
const pattern = (prefix: string) => new RegExp(`^${prefix}_[0-7][${alphabet}]{25}$`);

export const JobId = z.string().regex(pattern("job"), 'must be a job id such as "job_01k…"');
export const IntentId = z.string().regex(pattern("int"), 'must be an intent id such as "int_01k…"');
export const ApprovalId = z.string().regex(pattern("apr"), 'must be an approval id such as "apr_01k…"');
export const GrantId = z.string().regex(pattern("grt"), 'must be a grant id such as "grt_01k…"');
export const AuditId = z.string().regex(pattern("aud"));
export const ArtifactId = z.string().regex(pattern("art"), 'must be an artifact id such as "art_01k…"');
export const EntryId = z.string().regex(pattern("mem"), 'must be an entry id such as "mem_01k…"');
export const TokenId = z.string().regex(pattern("tok"), 'must be a token id such as "tok_01k…"');
export const RequestId = z.string().regex(pattern("req"));

/** Makes an id of a kind for the given time (milliseconds since the epoch). */
export function createId(
  prefix: "job" | "int" | "apr" | "grt" | "tok" | "aud" | "art" | "mem" | "req" | "wrk",
  nowMs: number = Date.now(),
): string {
  let time = "";
  for (let rest = nowMs, i = 0; i < 10; i++, rest = Math.floor(rest / 32)) time = alphabet[rest % 32] + time;
  let random = "";
  for (const byte of takeRandom(16)) random += alphabet[byte % 32];
  return `${prefix}_${time}${random}`;
}

const pool = new Uint8Array(1024);
let taken = pool.length;

/** Random bytes, each given once; drawn many at a time because every request has an id and each draw is a system call. */
function takeRandom(count: number): Uint8Array {
  if (taken + count > pool.length) {
    crypto.getRandomValues(pool);
    taken = 0;
  }
  taken += count;
  return pool.subarray(taken - count, taken);
}
