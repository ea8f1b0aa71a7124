// The record of a secret: what it is, and its value as it lies sealed. Its key names the owner first, so that one pattern
// covers all of one owner's and no name can reach into another's.
import { Labels, type Secret } from "@aether/contracts";
import { z } from "zod";
import { Sealed } from "./seal.ts";

export const StoredSecret = z.object({
  name: z.string(),
  owner: z.string(),
  labels: Labels,
  version: z.int(),
  /** Of this value alone: a secret that was deleted and set again has another one. */
  value_id: z.string(),
  size_bytes: z.int(),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
  last_used_at: z.iso.datetime().nullable(),
  sealed: Sealed,
});
export type StoredSecret = z.infer<typeof StoredSecret>;

export const idOf = ({ owner, name }: Pick<StoredSecret, "owner" | "name">) => `${owner}/${name}`;

export function keyOf({ owner, name }: Pick<StoredSecret, "owner" | "name">): string {
  return `${tokenOf(owner)}.${name}`;
}

/** Covers the keys of an owner's secrets. */
export const keysOf = (owner: string) => `${tokenOf(owner)}.>`;

/** An owner as one token of a subject, whatever it is called. */
const tokenOf = (owner: string) => Buffer.from(owner).toString("base64url");

/** The record as it is answered. */
export function toPublic(stored: StoredSecret, revision: number): Secret {
  const { sealed: _sealed, value_id: _value, ...said } = stored;
  return { id: idOf(stored), ...said, revision };
}
