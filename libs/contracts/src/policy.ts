// The policy service: decisions, their audit records, and what people ask about both.
import { z } from "zod";
import { actions, resourceTypes } from "./actions.ts";
import { AskRequest } from "./approvals.ts";
import { defineOperation } from "./define.ts";
import { Principal, PrincipalName } from "./envelope.ts";
import { ApprovalId, AuditId, GrantId, IntentId, JobId, TokenId } from "./ids.ts";
import { limits } from "./limits.ts";

export const Resource = z.strictObject({
  type: z.enum(resourceTypes),
  id: z.string().max(200),
  owner: z.string().max(200).nullable(),
  labels: z.record(z.string(), z.string()).default({}),
  /** Of what an agent owns: the person for whom it works. */
  person: z.string().max(200).optional(),
});
export type Resource = z.infer<typeof Resource>;

/** Facts about the act itself that policies may look at; which ones an action has, the Cedar schema says. */
export const DecisionContext = z.record(z.string(), z.union([z.string(), z.int(), z.boolean(), z.array(z.string())]));
export type DecisionContext = z.infer<typeof DecisionContext>;

export const DecideRequest = z.strictObject({
  principal: Principal,
  action: z.enum(actions),
  resource: Resource,
  context: DecisionContext,
  /** The capability token that the caller came with: it narrows what the answer may allow. */
  token: z.string().max(limits.tokenChars).optional(),
  record: z.enum(["before", "summary"]),
  request_id: z.string(),
  intent_id: IntentId.nullable(),
  job_id: JobId.nullable(),
  /** Digest of exactly what is decided (spec and attempt), kept in the record. */
  digest: z.string().nullable(),
  /** Without it, or without a digest, nobody is asked: what would need a person's yes is denied and says so. */
  ask: AskRequest.optional(),
});
export type DecideRequest = z.infer<typeof DecideRequest>;

export const DecideReply = z.strictObject({
  /** `ask`: not allowed now; a person is asked, under `approval_id`. */
  outcome: z.enum(["allow", "ask", "deny"]),
  decision_id: AuditId.nullable(),
  reason: z.string(),
  policies: z.array(z.string()),
  policy_version: z.string(),
  /** What waits for a person, or the yes that this used. */
  approval_id: ApprovalId.nullable(),
  /** On a denial: whether the caller may at least see the resource (403) or not (404). */
  visible: z.boolean(),
  /** For collections: of everybody, or only what the caller owns. */
  scope: z.enum(["all", "own"]),
});
export type DecideReply = z.infer<typeof DecideReply>;

export const decide = defineOperation({
  name: "policy.decide",
  kind: "unary",
  summary: "Decide on an action and record the decision",
  request: DecideRequest,
  reply: DecideReply,
  problems: ["audit-unavailable", "token-refused", "too-many-requests"],
  access: { exempt: "decide", reason: "it is the decision itself" },
  callers: ["jobs", "artifacts", "policy", "memory", "events"],
  retry: "with-key",
  timeoutMs: limits.decideDeadlineMs,
});

export const checkPolicy = defineOperation({
  name: "policy.check",
  kind: "unary",
  summary: "Ask whether an action would be allowed, without doing it",
  http: { method: "POST", path: "/policy/check", status: 200 },
  request: z.strictObject({
    action: z.enum(actions),
    resource: z
      .strictObject({
        type: z.enum(resourceTypes),
        id: z.string().max(200).default("*"),
        owner: z.string().max(200).optional(),
        labels: z.record(z.string(), z.string()).default({}),
      })
      .optional(),
    context: DecisionContext.default({}),
    as: PrincipalName.optional().describe("Whom it is about instead of the caller, as `agent:aurora`; for operators"),
    roles: Principal.shape.roles.optional().describe("With `as`: the roles that he would have"),
  }),
  reply: z.object({
    decision: z.enum(["allow", "ask", "deny"]).describe("`ask`: a person would be asked"),
    reason: z.string(),
    policies: z.array(z.string()),
    policy_version: z.string(),
  }),
  problems: ["invalid-request"],
  access: { action: "check_policy", resource: "Policy", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const PolicyEntry = z.object({
  id: z.string(),
  effect: z.enum(["permit", "forbid"]),
  reason: z.string(),
  ask: z.string().nullable().describe("The question to a person, where the policy holds with his yes"),
  origin: z.enum(["shipped", "own"]),
  file: z.string(),
  line: z.int(),
});
export type PolicyEntry = z.infer<typeof PolicyEntry>;

export const listPolicies = defineOperation({
  name: "policy.policies",
  kind: "unary",
  summary: "List the policies that answer now, in the order of their files",
  http: { method: "GET", path: "/policy", status: 200 },
  request: z.strictObject({
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: z.string().max(200).optional(),
  }),
  reply: z.object({
    policy_version: z.string(),
    items: z.array(PolicyEntry),
    next_cursor: z.string().nullable(),
    warnings: z.array(z.string()).describe("What the validator says of them"),
    error: z.string().nullable().describe("Why newer files do not answer; null when they do"),
  }),
  problems: ["invalid-request", "policy-denied"],
  access: { action: "read_policy", resource: "Policy", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

/**
 * `decision`: one decision; `approval`: what became of an approval or a grant, before it is so; `outcome`: what became of a job; `summary`: equal status reads of a second; `denials`: equal
 * denials of a second, beyond the first; `writer.start` and `writer.stop`: a writer's life; `gap`: what may be missing here;
 * `segment.start`: everything before it is in a sealed segment.
 */
const AuditKind = z.enum([
  "decision",
  "approval",
  "outcome",
  "summary",
  "denials",
  "writer.start",
  "writer.stop",
  "gap",
  "segment.start",
]);

export const AuditRecord = z.object({
  id: AuditId,
  seq: z.int().describe("Position in the log, from 1 without a gap"),
  kind: AuditKind,
  ts: z.object({
    wall: z.iso.datetime(),
    monotonic_ns: z.string().describe("Comparable within one boot only"),
    boot_id: z.string(),
  }),
  actor: z.object({
    type: z.string(),
    id: z.string(),
    uid: z.int().nullable(),
    gid: z.int().nullable(),
    pid: z.int().nullable(),
    owner: z.string().nullable().default(null).describe("Of an agent: for whom it works"),
    same_uid: z
      .boolean()
      .default(false)
      .describe("Whether an agent has its owner's uid: nothing but its sandbox parts them"),
    via: z.string().describe("The bus caller that vouched for it"),
  }),
  intent_id: IntentId.nullable(),
  job_id: JobId.nullable(),
  action: z.string(),
  resource: z.object({ type: z.string(), id: z.string() }).nullable(),
  decision: z
    .object({
      outcome: z.enum(["allow", "ask", "deny"]),
      reason: z.string(),
      policies: z.array(z.string()),
      policy_version: z.string(),
      approval: ApprovalId.nullable().default(null).describe("The approval that it used, or that it asks for"),
      grant: GrantId.nullable().default(null).describe("The grant that made the difference"),
      token: TokenId.optional().describe("The capability token that the caller came with, where he did"),
    })
    .nullable(),
  provenance: z.object({
    request_id: z.string().nullable(),
    digest: z.string().nullable(),
    /** Where an outcome was read: the stream and the sequence in it. */
    source: z.object({ stream: z.string(), sequence: z.int() }).nullable(),
  }),
  /** Of an outcome: the transition that was stored. */
  outcome: z
    .object({
      from: z.string().nullable(),
      to: z.string(),
      reason: z.string().nullable(),
      attempt: z.int(),
      at: z.string().describe("When it happened, as the job's record says"),
    })
    .nullable(),
  note: z.string().nullable().describe("What there is to say in words: about the log itself, or how a person answered"),
  count: z.int().describe("How many equal events this record stands for"),
  prev: z.string().describe("Hash of the record before"),
  hash: z.string().describe("SHA-256 of this record's canonical JSON without `hash`"),
});
export type AuditRecord = z.infer<typeof AuditRecord>;

export const listAudit = defineOperation({
  name: "policy.audit",
  kind: "unary",
  summary: "List audit records, newest first",
  http: { method: "GET", path: "/audit", status: 200 },
  request: z.strictObject({
    actor: z.string().max(200).optional().describe("`user:1000`, `service:jobs`, …"),
    action: z.string().max(64).optional(),
    job_id: JobId.optional(),
    intent_id: IntentId.optional(),
    decision: z.enum(["allow", "ask", "deny"]).optional(),
    kind: AuditKind.optional(),
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: z.string().max(200).optional(),
  }),
  reply: z.object({ items: z.array(AuditRecord), next_cursor: z.string().nullable() }),
  problems: ["invalid-request", "policy-denied"],
  access: { action: "read_audit", resource: "Audit", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const verifyAudit = defineOperation({
  name: "policy.verify",
  kind: "unary",
  summary: "Verify the hash chain and the signed checkpoints of the audit log",
  http: { method: "POST", path: "/audit/verify", status: 200 },
  request: z.strictObject({}),
  reply: z.object({
    state: z.enum(["intact", "tampered", "incomplete"]),
    records: z.int(),
    first_seq: z.int().nullable(),
    last_seq: z.int().nullable(),
    last_hash: z.string().nullable(),
    checkpoints: z.int(),
    segments: z.int(),
    faults: z.array(z.object({ seq: z.int().nullable(), fault: z.string() })),
  }),
  problems: ["policy-denied"],
  access: { action: "verify_audit", resource: "Audit", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "safe",
  timeoutMs: 10 * limits.requestDeadlineMs,
});
