// The secrets service: named values that jobs find as files. A value goes in and never comes out again, except to the worker
// that holds an attempt of a job whose owner may use it. A name is its owner's own: the same name of somebody else is another
// secret, and none says whether the other is there.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { JobId } from "./ids.ts";
import { limits } from "./limits.ts";

const name = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}";
const owner = "(?:user|agent|service):[A-Za-z0-9][A-Za-z0-9_.-]{0,127}";

export const SecretName = z.string().regex(new RegExp(`^${name}$`), "must be letters, digits, _ . -");
/** A secret of anybody's: `user:1000/db-password`. */
const SecretId = z.string().regex(new RegExp(`^${owner}/${name}$`), "must be OWNER/NAME");
/** How a job says which secret it means: one of its submitter's by name, another's by owner and name. */
export const SecretReference = z
  .string()
  .regex(new RegExp(`^(?:${owner}/)?${name}$`), "must be a secret's name, or OWNER/NAME such as user:1000/db");

/** The secret that a reference of this principal means. */
export function secretIdOf(reference: string, principal: string): string {
  return reference.includes("/") ? reference : `${principal}/${reference}`;
}

/** Owner and name of a secret's id. */
export function partsOfSecretId(id: string): { owner: string; name: string } {
  const at = id.indexOf("/");
  return { owner: id.slice(0, at), name: id.slice(at + 1) };
}

/** A secret of a job, as it was when the job was submitted: an attempt is given that value or none. */
export const JobSecret = z.object({ id: SecretId, value_id: z.string() });
export type JobSecret = z.infer<typeof JobSecret>;

const time = z.iso.datetime().describe("RFC 3339, UTC, milliseconds");

/** A secret as it is answered: everything but its value. */
export const Secret = z.object({
  id: z.string().describe("`OWNER/NAME`: how jobs of others name it"),
  name: z.string(),
  owner: z.string().describe("Principal that set it, `user:<uid>`"),
  labels: z.record(z.string(), z.string()).describe("What policies may look at"),
  version: z.int().describe("Counts the values that it has had, from 1"),
  size_bytes: z.int(),
  created_at: time,
  updated_at: time.describe("When it got this value"),
  last_used_at: time.nullable().describe("When a job was last given it, to the minute"),
  revision: z.int(),
});
export type Secret = z.infer<typeof Secret>;

const label = z
  .string()
  .regex(/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?=[^\0]*$/, "must be k=v, k of letters, digits, . _ / -")
  .refine((pair) => pair.length - pair.indexOf("=") - 1 <= limits.labelBytes, "its value is too long");

export const setSecret = defineOperation({
  name: "secrets.set",
  kind: "unary",
  summary: "Set a secret to the bytes of the body; the same bytes again change nothing",
  http: { method: "PUT", path: "/secrets/{name}", status: 200, maxBytes: limits.secretBytes },
  request: z.strictObject({
    name: SecretName,
    label: z
      .array(label)
      .max(limits.labelPairs)
      .optional()
      .describe("What policies may look at, `k=v`; absent: as before"),
  }),
  reply: Secret,
  bytes: "request",
  problems: [
    "invalid-request",
    "policy-denied",
    "too-large",
    "conflict",
    "too-many-requests",
    "storage-full",
    "audit-unavailable",
  ],
  access: { action: "put_secret", resource: "Secret", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const listSecrets = defineOperation({
  name: "secrets.list",
  kind: "unary",
  summary: "List one's secrets by name, without their values",
  http: { method: "GET", path: "/secrets", status: 200 },
  request: z.strictObject({}),
  reply: z.object({ items: z.array(Secret), next_cursor: z.null().describe("They are one page") }),
  problems: ["invalid-request", "policy-denied"],
  access: { action: "list_secrets", resource: "Secrets", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const deleteSecret = defineOperation({
  name: "secrets.delete",
  kind: "unary",
  summary: "Delete a secret; jobs that wait for it will fail",
  http: { method: "DELETE", path: "/secrets/{name}", status: 200 },
  request: z.strictObject({ name: SecretName }),
  reply: Secret,
  problems: ["invalid-request", "not-found", "policy-denied", "conflict", "audit-unavailable"],
  access: { action: "delete_secret", resource: "Secret", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const describeSecret = defineOperation({
  name: "secrets.describe",
  kind: "unary",
  summary: "Tell jobs what a secret is, so that it can ask policy about it",
  request: z.strictObject({ id: SecretId }),
  reply: z.object({
    owner: z.string(),
    labels: z.record(z.string(), z.string()),
    value_id: z.string().describe("Names this value among all that the secret ever had"),
  }),
  problems: ["not-found"],
  access: { exempt: "fenced", reason: "tells jobs alone, which asks policy whether the submitter may use it" },
  callers: ["jobs"],
  retry: "safe",
  timeoutMs: limits.decideDeadlineMs,
});

export const takeSecret = defineOperation({
  name: "secrets.take",
  kind: "unary",
  summary: "Give a secret to the attempt that needs it",
  request: z.strictObject({ job_id: JobId, attempt: z.int().min(1), secret: z.string().max(100), id: SecretId }),
  reply: z.object({}),
  bytes: "reply",
  problems: ["conflict", "not-found", "audit-unavailable"],
  access: {
    exempt: "fenced",
    reason: "held against the attempt, and asks policy for use_secret on behalf of the job's owner",
  },
  callers: ["worker"],
  retry: "safe",
  timeoutMs: limits.transferStepMs,
});
