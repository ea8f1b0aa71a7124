// The artifacts service: bytes that are kept under their SHA-256, and the records that name them. Bytes come and go as a
// transfer: it is begun by one decided request, and its chunks are fenced by its secret, which leaves nobody but the caller
// that began it.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { ArtifactId, IntentId, JobId } from "./ids.ts";
import { limits } from "./limits.ts";
import { MediaType } from "./media-type.ts";
import { Labels } from "./spec.ts";

const encoder = new TextEncoder();
// Control characters, line separators and what turns the direction of text around: a name is shown, and becomes a header.
const unfit = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069/]/u;

export const ArtifactName = z
  .string()
  .min(1)
  .refine((name) => encoder.encode(name).length <= limits.artifactNameBytes, "must be at most 255 bytes")
  .refine((name) => name.isWellFormed() && !unfit.test(name), "must hold no slash and no control character")
  .refine((name) => name !== "." && name !== "..", "must be a name");

export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be a SHA-256 in lower-case hexadecimal");

/** An artifact as it is answered. What is not known is null, never absent. */
export const Artifact = z.object({
  id: ArtifactId,
  artifact_id: ArtifactId,
  name: z.string(),
  type: z.string().describe("Media type"),
  size_bytes: z.int(),
  sha256: z.string(),
  owner: z.string().describe("Principal that stored it, `user:<uid>`"),
  job_id: JobId.nullable(),
  intent_id: IntentId.nullable(),
  labels: z.record(z.string(), z.string()),
  created_at: z.iso.datetime().describe("RFC 3339, UTC, milliseconds"),
  path: z
    .string()
    .nullable()
    .describe(
      "A read-only file on this host with the bytes, verified just now; null in lists and where none was asked for",
    ),
  revision: z.int(),
});
export type Artifact = z.infer<typeof Artifact>;

const ArtifactList = z.object({ items: z.array(Artifact), next_cursor: z.string().nullable() });

const described = {
  name: ArtifactName.describe("What it is called"),
  type: MediaType.default("application/octet-stream").describe("Media type"),
  job_id: JobId.optional().describe("The job that it belongs to"),
};
const label = z
  .array(z.string().regex(/^[^=]{1,63}=.*$/s, "must be k=v"))
  .max(limits.labelPairs)
  .optional();

/** The secret of a transfer. */
const transfer = z.string().regex(/^[0-9a-f]{32}$/);
const fenced = { exempt: "fenced", reason: "only who began the transfer, which was decided, has its secret" } as const;
const putProblems = [
  "invalid-request",
  "policy-denied",
  "too-large",
  "digest-mismatch",
  "artifacts-full",
  "storage-full",
  "too-many-requests",
  "audit-unavailable",
] as const;

export const registerArtifact = defineOperation({
  name: "artifacts.register",
  kind: "unary",
  summary: "Store a file of this host as an artifact, read with the caller's own rights",
  http: { method: "POST", path: "/artifacts", status: 201 },
  request: z.strictObject({
    path: z
      .string()
      .max(4096)
      .refine((path) => path.startsWith("/") && !path.includes("\0"), "must be an absolute path")
      .describe("The file; it must not change while it is read"),
    ...described,
    name: ArtifactName.optional().describe("What it is called; the file's name where absent"),
    sha256: Sha256.optional().describe("What its bytes must be"),
    labels: Labels.default({}).describe("Free pairs to find it by"),
  }),
  reply: Artifact,
  problems: [...putProblems, "file-refused", "idempotency-conflict"],
  access: { action: "put_artifact", resource: "Artifact", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "with-key",
  creates: "art",
  timeoutMs: limits.transferMs,
});

export const uploadArtifact = defineOperation({
  name: "artifacts.upload",
  kind: "upload",
  summary: "Store the body as an artifact",
  http: {
    method: "PUT",
    path: "/artifacts/content",
    status: 201,
    query: z.strictObject({ ...described, label: label.describe("Free pairs to find it by, `k=v`") }),
    reply: Artifact,
  },
  request: z.strictObject({
    ...described,
    labels: Labels.default({}),
    size_bytes: z.int().min(0).optional(),
    sha256: Sha256.optional(),
  }),
  // Only the gateway, which hashes what comes itself, hears that bytes are there: it sends on none of them.
  reply: z.object({ transfer, known: z.boolean() }),
  problems: [...putProblems, "idempotency-conflict"],
  access: { action: "put_artifact", resource: "Artifact", owner: "caller", record: "before" },
  callers: ["gateway", "memory"],
  retry: "with-key",
  creates: "art",
  replay: "again",
  timeoutMs: limits.transferStepMs,
});

export const sendChunk = defineOperation({
  name: "artifacts.chunk",
  kind: "unary",
  summary:
    "Send the next chunk of an upload, answered when it is stored; an empty one keeps an upload of known bytes open",
  request: z.strictObject({ transfer, index: z.int().min(0) }),
  reply: z.object({}),
  bytes: "request",
  problems: ["conflict", "too-large", "artifacts-full"],
  access: fenced,
  callers: ["gateway", "worker", "memory"],
  retry: "safe",
  timeoutMs: limits.transferStepMs,
});

export const commitUpload = defineOperation({
  name: "artifacts.commit",
  kind: "unary",
  summary: "End an upload: from here on the artifact is there",
  request: z.strictObject({
    transfer,
    came: z.strictObject({ sha256: Sha256, size_bytes: z.int().min(0) }).optional(),
  }),
  reply: Artifact,
  problems: ["conflict", "digest-mismatch", "idempotency-conflict", "artifacts-full"],
  access: fenced,
  callers: ["gateway", "worker", "memory"],
  retry: "with-key",
  timeoutMs: 2 * limits.transferStepMs,
});

export const getArtifact = defineOperation({
  name: "artifacts.get",
  kind: "unary",
  summary: "Read an artifact's record, with the path of a verified file on this host",
  http: { method: "GET", path: "/artifacts/{id}", status: 200 },
  request: z.strictObject({
    id: ArtifactId,
    path: z.boolean().default(true).describe("Whether to name a file on this host, which may have to be written first"),
  }),
  reply: Artifact,
  problems: ["invalid-request", "not-found", "storage-full", "file-refused", "audit-unavailable"],
  access: { action: "read_artifact", resource: "Artifact", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
  timeoutMs: limits.transferMs,
});

export const downloadArtifact = defineOperation({
  name: "artifacts.download",
  kind: "download",
  summary: "Read an artifact's bytes, or a range of them",
  http: { method: "GET", path: "/artifacts/{id}/content", status: 200 },
  request: z.strictObject({ id: ArtifactId }),
  reply: z.object({ transfer, artifact: Artifact }),
  problems: ["invalid-request", "not-found", "range-not-satisfiable", "too-many-requests", "audit-unavailable"],
  access: { action: "read_artifact", resource: "Artifact", owner: "record", record: "before" },
  callers: ["gateway", "memory"],
  retry: "safe",
  timeoutMs: limits.transferStepMs,
});

export const readChunks = defineOperation({
  name: "artifacts.read",
  kind: "unary",
  summary: "Have the next chunks of a download sent to the caller, under a token of this request",
  request: z.strictObject({
    transfer,
    index: z.int().min(0),
    count: z.int().min(1).max(limits.transferChunksInFlight),
    known: z.strictObject({ index: z.int().min(0), sequence: z.int().min(1) }).optional(),
    to: transfer,
  }),
  reply: z.object({}),
  problems: ["conflict"],
  access: fenced,
  callers: ["gateway", "worker", "memory"],
  retry: "safe",
  timeoutMs: limits.transferReadMs,
});

export const closeTransfer = defineOperation({
  name: "artifacts.close",
  kind: "unary",
  summary: "Give up a transfer; what an upload has stored so far goes",
  request: z.strictObject({ transfer }),
  reply: z.object({}),
  problems: [],
  access: fenced,
  callers: ["gateway", "worker", "memory"],
  retry: "safe",
  timeoutMs: limits.transferStepMs,
});

export const listArtifacts = defineOperation({
  name: "artifacts.list",
  kind: "unary",
  summary: "List artifacts, newest first",
  http: { method: "GET", path: "/artifacts", status: 200 },
  request: z.strictObject({
    job_id: JobId.optional(),
    intent_id: IntentId.optional(),
    type: MediaType.optional(),
    sha256: Sha256.optional(),
    label: label.describe("Only with these labels, `k=v`"),
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: z.string().max(200).optional(),
    min_revision: z.int().min(0).optional().describe("Wait until the view has seen this revision"),
  }),
  reply: ArtifactList,
  problems: ["invalid-request"],
  access: { action: "list_artifacts", resource: "Artifacts", owner: "caller", record: "summary" },
  callers: ["gateway", "memory"],
  retry: "safe",
});

export const deleteArtifact = defineOperation({
  name: "artifacts.delete",
  kind: "unary",
  summary: "Delete an artifact; its bytes go with the last artifact that has them",
  http: { method: "DELETE", path: "/artifacts/{id}", status: 200 },
  request: z.strictObject({ id: ArtifactId }),
  reply: Artifact,
  problems: ["invalid-request", "not-found", "policy-denied", "audit-unavailable"],
  access: { action: "delete_artifact", resource: "Artifact", owner: "record", record: "before" },
  callers: ["gateway", "memory"],
  retry: "safe",
});
