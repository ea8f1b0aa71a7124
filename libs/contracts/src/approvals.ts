// Approvals: a person's side of what policy asks about, and grants, the answers that stay.
//
// An approval is bound to the digest of exactly the act. `once` serves one job, with every attempt that its own spec allows, or one
// request; for longer an answer becomes a grant, whose rule was shown beforehand. Only policy writes either (KV `approvals` and
// `grants`); whoever follows KV `approvals` reads `Approval` documents there, under their ids.
import { z } from "zod";
import { actions, resourceTypes } from "./actions.ts";
import { defineOperation } from "./define.ts";
import { ApprovalId, GrantId, IntentId, JobId } from "./ids.ts";
import { limits } from "./limits.ts";
import { durationSchema } from "./units.ts";

const time = z.iso.datetime().describe("RFC 3339, UTC, milliseconds");
const text = z.string().max(limits.commandBytes);

/** What a person is shown of a job, before it runs. */
const JobPreview = z.strictObject({
  kind: z.literal("job"),
  words: text.describe("What would happen, in a sentence"),
  argv: z.array(text).describe("Program and arguments; no shell reads them"),
  image: text.nullable().default(null),
  workdir: text,
  pool: text,
  limits: z.record(z.string(), z.union([z.string(), z.number()])).describe("By name, with the unit in it"),
  network: z.array(text).default([]).describe("Hosts that it may reach; none where empty"),
  inputs: z
    .array(z.strictObject({ path: text, artifact: z.string(), sha256: z.string(), size_bytes: z.int() }))
    .default([]),
  env: z.array(text).default([]).describe("Names only"),
  secrets: z.array(text).default([]).describe("Names only"),
  stdin: z.strictObject({ size_bytes: z.int(), sha256: z.string() }).nullable().default(null),
});

/** What a person is shown of any other act. */
const OperationPreview = z.strictObject({
  kind: z.literal("operation"),
  words: text.describe("What would happen, in a sentence"),
  operation: z.string().max(100),
  request: z.record(z.string(), text).describe("Its fields, as JSON"),
});

/** Text of others in it is shown with control, invisible and misleading characters as `\u{…}`; what is long is cut and says so. */
export const Preview = z.discriminatedUnion("kind", [JobPreview, OperationPreview]);
export type Preview = z.infer<typeof Preview>;

/** What a caller of `decide` adds where a person may be asked. */
export const AskRequest = z.strictObject({
  /** `consume`: the act itself, which uses a yes up. `ask`: looks ahead; makes or joins an approval, uses nothing, records no act. */
  mode: z.enum(["consume", "ask"]),
  /** What would use the approval: the id of the job, else the request's Idempotency-Key or id. */
  subject: z.string().min(1).max(200),
  /** Of a job's start: which attempt. Asking again about the same attempt gives the same answer. */
  attempt: z.int().min(1).optional(),
  preview: Preview,
});
export type AskRequest = z.infer<typeof AskRequest>;

export const ApprovalState = z.enum(["pending", "approved", "denied", "expired", "cancelled", "revoked", "used"]);
export type ApprovalState = z.infer<typeof ApprovalState>;

/** `once` remembers nothing; `session` holds for this intent; `always` until its grant ends. */
export const AnswerKind = z.enum(["allow_once", "allow_session", "allow_always", "reject_once"]);
export type AnswerKind = z.infer<typeof AnswerKind>;

/** Facts that an act may have and still be allowed: texts and truths equal, numbers at most, lists within. */
const Facts = z.record(z.string(), z.union([z.string(), z.int(), z.boolean(), z.array(z.string())]));

/** What a grant allows. */
export const GrantRule = z.object({
  words: z.string().describe("The same in a sentence"),
  principal: z.string().describe("Who may, as `agent:aurora`"),
  action: z.enum(actions),
  resource: z.object({ type: z.enum(resourceTypes), owner: z.string().nullable() }),
  facts: Facts.describe("Texts must be equal, numbers at most these, lists within these"),
  intent_id: IntentId.nullable().describe("Only under this intent"),
});
export type GrantRule = z.infer<typeof GrantRule>;

export const Approval = z.object({
  id: ApprovalId,
  state: ApprovalState,
  digest: z.string().describe("SHA-256 of exactly what would be done; an answer must name it"),
  requester: z.object({
    principal: z.string().describe("Who asks, as `agent:aurora`"),
    uid: z.int().nullable(),
    owner: z.string().nullable().describe("Of an agent: whom it works for"),
  }),
  action: z.enum(actions),
  resource: z.object({ type: z.enum(resourceTypes), id: z.string(), owner: z.string().nullable() }),
  facts: Facts.describe("What policy looked at"),
  intent_id: IntentId.nullable(),
  subjects: z
    .array(z.object({ subject: z.string(), job_id: JobId.nullable(), at: time }))
    .describe("What waits for the answer: equal prompts are one, answered together"),
  why: z.array(z.object({ policy: z.string(), reason: z.string() })),
  ask: z.string().describe("The question, in a sentence"),
  preview: Preview,
  options: z
    .array(z.object({ kind: AnswerKind, rule: GrantRule.nullable(), lasts_ms: z.int().nullable() }))
    .describe("The answers that policy would accept; with `rule`, what it would allow from then on"),
  default: AnswerKind.describe("What a person who only presses a key has said"),
  created_at: time,
  expires_at: time.describe("Of a pending one: when the question ends. Of a yes: when it can no longer be used"),
  answered_at: time.nullable(),
  answered_by: z.string().nullable(),
  answer: AnswerKind.nullable(),
  comment: z.string().nullable(),
  grant_id: GrantId.nullable().describe("The grant that the answer made, or that answered it"),
  supersedes: ApprovalId.nullable().describe("The one before it, about the same act"),
  uses: z.array(z.object({ subject: z.string(), attempt: z.int(), at: time })),
});
export type Approval = z.infer<typeof Approval>;

export const Grant = z.object({
  id: GrantId,
  scope: z.enum(["session", "always"]),
  rule: GrantRule,
  owner: z.string().nullable().describe("Whose requests it is about: of an agent, whom it works for"),
  by: z.string().describe("Who said yes"),
  approval_id: ApprovalId,
  comment: z.string().nullable(),
  created_at: time,
  expires_at: time,
  last_used_at: time.nullable().describe("To the minute"),
  uses: z.int(),
});
export type Grant = z.infer<typeof Grant>;

const id = z.strictObject({ id: ApprovalId });
const answering = ["invalid-request", "not-found", "policy-denied", "conflict", "audit-unavailable"] as const;

export const listApprovals = defineOperation({
  name: "policy.approvals",
  kind: "unary",
  summary: "List approvals, newest first",
  http: { method: "GET", path: "/approvals", status: 200 },
  request: z.strictObject({
    state: z.array(ApprovalState).max(ApprovalState.options.length).optional().describe("Only these states"),
    intent_id: IntentId.optional(),
    job_id: JobId.optional().describe("Only what this job waits for"),
    after: z
      .int()
      .min(0)
      .optional()
      .describe("Only what has changed since that `revision`, and with `wait` not before"),
    wait: durationSchema(0, limits.waitMaxMs)
      .optional()
      .describe("Answer when something of it has changed or this time is up, at most 60s"),
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: z.string().max(200).optional(),
  }),
  reply: z.object({
    items: z.array(Approval),
    next_cursor: z.string().nullable(),
    revision: z.int().describe("Give back as `after` to be told what changes from here on"),
  }),
  problems: ["invalid-request", "policy-denied"],
  access: { action: "list_approvals", resource: "Approvals", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
  timeoutMs: limits.waitMaxMs + limits.requestDeadlineMs,
});

export const getApproval = defineOperation({
  name: "policy.approval",
  kind: "unary",
  summary: "Read an approval",
  http: { method: "GET", path: "/approvals/{id}", status: 200 },
  request: id,
  reply: Approval,
  problems: ["invalid-request", "not-found"],
  access: { action: "read_approval", resource: "Approval", owner: "record", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const answerApproval = defineOperation({
  name: "policy.answer",
  kind: "unary",
  summary: "Answer an approval",
  http: { method: "POST", path: "/approvals/{id}/answer", status: 200 },
  request: id.extend({
    option: AnswerKind.describe("One of its options"),
    digest: z.string().max(200).describe("The approval's: what was shown is what is answered"),
    secret: z.string().max(limits.humanSecretChars).optional().describe("Where the asker's own uid answers"),
    comment: z.string().max(1000).optional(),
  }),
  reply: Approval,
  problems: [...answering, "too-many-requests"],
  access: { action: "answer_approval", resource: "Approval", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const revokeApproval = defineOperation({
  name: "policy.revoke-approval",
  kind: "unary",
  summary: "Take a yes back before it is used, or a question before it is answered",
  http: { method: "DELETE", path: "/approvals/{id}", status: 200 },
  request: id,
  reply: Approval,
  problems: [...answering],
  access: { action: "revoke_approval", resource: "Approval", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const setHumanSecret = defineOperation({
  name: "policy.human-secret",
  kind: "unary",
  summary: "Set the secret by which a person answers what a program under the same uid asked",
  http: { method: "PUT", path: "/approvals/secret", status: 200 },
  request: z.strictObject({
    secret: z
      .string()
      .min(limits.humanSecretMinChars)
      .max(limits.humanSecretChars)
      .nullable()
      .describe("null: there is none any more"),
    old: z.string().max(limits.humanSecretChars).optional().describe("The one before, where there is one"),
    of: z
      .string()
      .regex(/^user:\d{1,10}$/, 'must be a user such as "user:1000"')
      .optional()
      .describe("Somebody else's, which operators may clear"),
  }),
  reply: z.object({ principal: z.string(), is_set: z.boolean() }),
  problems: ["invalid-request", "policy-denied", "too-many-requests", "audit-unavailable"],
  access: { action: "set_human_secret", resource: "Approvals", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const listGrants = defineOperation({
  name: "policy.grants",
  kind: "unary",
  summary: "List what was allowed for longer than once, newest first",
  http: { method: "GET", path: "/grants", status: 200 },
  request: z.strictObject({
    principal: z.string().max(200).optional().describe("Only what this one may, as `agent:aurora`"),
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: z.string().max(200).optional(),
  }),
  reply: z.object({ items: z.array(Grant), next_cursor: z.string().nullable() }),
  problems: ["invalid-request", "policy-denied"],
  access: { action: "list_approvals", resource: "Approvals", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const revokeGrant = defineOperation({
  name: "policy.revoke-grant",
  kind: "unary",
  summary: "Take back what was allowed for longer than once",
  http: { method: "DELETE", path: "/grants/{id}", status: 200 },
  request: z.strictObject({ id: GrantId }),
  reply: Grant,
  problems: ["invalid-request", "not-found", "policy-denied", "audit-unavailable"],
  access: { action: "revoke_approval", resource: "Grant", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});
