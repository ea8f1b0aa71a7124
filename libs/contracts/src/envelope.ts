// What travels beside every request on the bus: who asks, for what, and until when. Who may be believed about it is
// settled by the subject, not by this text: only an envelope on a `gateway` subject may name a principal.
import { z } from "zod";
import { IntentId, RequestId } from "./ids.ts";
import { limits } from "./limits.ts";

export const Principal = z.strictObject({
  type: z.enum(["User", "Agent", "Job", "Worker", "Service"]),
  id: z.string().min(1).max(200),
  roles: z.array(z.enum(["operator", "member", "agent"])).max(8),
  uid: z.int().optional(),
  gid: z.int().optional(),
  pid: z.int().optional(),
  /** Supplementary groups, for what is opened with the caller's own rights; fewer than he has where he has very many. */
  groups: z.array(z.int()).max(256).optional(),
  /** Of an agent: whom it works for, as `user:1000`. */
  owner: z.string().max(200).optional(),
});
export type Principal = z.infer<typeof Principal>;

/** A principal by its name: `user:1000`, `agent:aurora`. */
export const PrincipalName = z
  .string()
  .regex(/^(user|agent|service):[^\s:]{1,190}$/, 'must be a name such as "user:1000" or "agent:aurora"');

export const Envelope = z.strictObject({
  principal: Principal.optional(),
  request_id: RequestId,
  intent_id: IntentId.nullish(),
  idempotency_key: z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/, "must be 1 to 200 printable ASCII characters")
    .optional(),
  traceparent: z
    .string()
    .regex(/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/)
    .optional(),
  /** The capability token that the caller came with, as it came: policy verifies it, nobody keeps or logs it. */
  token: z.string().max(limits.tokenChars).optional(),
  /** What is left of the deadline when it is sent, milliseconds: no wall clocks are compared. */
  timeout_ms: z.int().positive(),
});
export type Envelope = z.infer<typeof Envelope>;

/** Whom an owner's name means, with no more rights than a member's: what is done for him later. */
export function principalOf(owner: string): Principal {
  const [type, ...rest] = owner.split(":");
  const id = rest.join(":");
  if (type === "service") return { type: "Service", id, roles: [] };
  if (type === "agent") return { type: "Agent", id, roles: ["agent"] };
  return { type: "User", id, roles: ["member"] };
}

/** As whom files of this host are opened for a principal: only users have any; what an agent may see is in its sandbox. */
export function hostUserOf({
  type,
  uid,
  gid,
  groups = [],
}: Principal): { uid: number; gid: number; groups: number[] } | null {
  return type === "User" && uid !== undefined && gid !== undefined ? { uid, gid, groups } : null;
}

/** Whether an agent has the uid of the person whom it works for: to the kernel it is that person. */
export function hasOwnersUid({ type, owner, uid }: Pick<Principal, "type" | "owner" | "uid">): boolean {
  return type === "Agent" && uid !== undefined && owner === `user:${uid}`;
}

/** How owners and actors are written in records: `user:1000`, `worker:host-a`. */
export function principalName(principal: Pick<Principal, "type" | "id">): string {
  return `${principal.type.toLowerCase()}:${principal.id}`;
}
