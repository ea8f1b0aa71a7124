// How an event lies in EVENTS: the CloudEvent is the message's data, in the structured JSON form, as anybody would read it.
// What is not anybody's business is in headers: whose it is, and, for a derived one, what it was derived from and how far
// its source was told when it was stored.
//
// A subject is what makes an event the only one: everything derived of one thing lies under the thing's subject, in order;
// what a user emits lies under one of its own, so that nobody's event can be taken for, or in place of, another's.
import { createHash } from "node:crypto";

export const stream = "EVENTS";
export const everything = "aether.events.v0.>";

export const headerNames = {
  owner: "Aether-Owner",
  revision: "Aether-Revision",
  position: "Aether-Position",
  digest: "Aether-Digest",
} as const;

/** Of everything derived of one thing; of a whole source with `*`. */
export function systemSubject(source: string, key: string): string {
  return `aether.events.v0.system.${source}.${key}`;
}

/** Of the one event of this owner that has this source and id. */
export function userSubject(owner: string, source: string, id: string): string {
  return `aether.events.v0.user.${sha256(owner).slice(0, 32)}.${sha256(`${source}\n${id}`)}`;
}

/** The event as it is answered: with its place, which nobody knows before it is stored. */
export function withSequence(stored: string, sequence: number): string {
  return `${stored.slice(0, -1)},"sequence":"${String(sequence).padStart(12, "0")}"}`;
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
