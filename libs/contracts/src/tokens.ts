// Capability tokens: a signed word of policy that only narrows. What its bearer may do is what policies allow him *and* what
// the token names; who he is stays what the socket says. Lists and reads tell of tokens, never the token itself.
import { z } from "zod";
import { actions } from "./actions.ts";
import { defineOperation } from "./define.ts";
import { PrincipalName } from "./envelope.ts";
import { TokenId } from "./ids.ts";
import { limits } from "./limits.ts";
import { durationSchema, formatDuration } from "./units.ts";

export const Capability = z.strictObject({
  actions: z.array(z.enum(actions)).min(1).max(actions.length),
  id: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/, 'must be a whole id or name such as "job_01k…" or "aurora"')
    .optional()
    .describe("Only about this one thing, by its id or its name; then nothing can be listed"),
  owner: PrincipalName.optional().describe("Only about what belongs to this principal"),
});
export type Capability = z.infer<typeof Capability>;

const Capabilities = z.array(Capability).min(1).max(limits.tokenCapabilities);

export const TokenBinding = z.union([
  z.strictObject({ uid: z.int().min(0).max(0xffff_ffff) }),
  z.strictObject({ agent: z.string().min(1).max(64) }),
]);
export type TokenBinding = z.infer<typeof TokenBinding>;

export const Token = z.object({
  id: TokenId,
  owner: z.string().describe("Who asked for it"),
  bind: TokenBinding.describe("Whose calls it counts for: a user's, or those over an agent's socket"),
  capabilities: Capabilities,
  chain: z
    .array(TokenId)
    .describe("The tokens that it was made with, the first one first; revoking any of them ends it"),
  created_at: z.iso.datetime(),
  expires_at: z.iso.datetime(),
  revoked_at: z.iso.datetime().nullable(),
});
export type Token = z.infer<typeof Token>;

export const createToken = defineOperation({
  name: "policy.create-token",
  kind: "unary",
  summary: "Make a capability token: at most what the caller's own token allows, where the caller came with one",
  http: { method: "POST", path: "/tokens", status: 201 },
  request: z.strictObject({
    capabilities: Capabilities.describe("What its bearer may do, as far as policies let him; nothing else"),
    ttl: durationSchema(1000, limits.tokenMaxMs)
      .default(formatDuration(limits.tokenMaxMs))
      .describe("How long it counts; a token made with a token ends with that one at the latest"),
    bind: TokenBinding.optional().describe("Whose calls it counts for; the caller's own where absent"),
  }),
  reply: Token.extend({ token: z.string().describe("Sent as `Authorization: Bearer …`; it is not shown again") }),
  problems: ["invalid-request", "policy-denied", "token-refused", "idempotency-conflict", "too-many-requests"],
  access: { action: "create_token", resource: "Token", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "with-key",
  creates: "tok",
  replay: "never",
});

export const getToken = defineOperation({
  name: "policy.token",
  kind: "unary",
  summary: "Read what a token is for, and whether it still counts",
  http: { method: "GET", path: "/tokens/{id}", status: 200 },
  request: z.strictObject({ id: TokenId }),
  reply: Token,
  problems: ["not-found", "policy-denied"],
  access: { action: "read_token", resource: "Token", owner: "record", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const listTokens = defineOperation({
  name: "policy.tokens",
  kind: "unary",
  summary: "List tokens that have not expired, newest first",
  http: { method: "GET", path: "/tokens", status: 200 },
  request: z.strictObject({
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: TokenId.optional(),
  }),
  reply: z.object({ items: z.array(Token), next_cursor: z.string().nullable() }),
  problems: ["invalid-request", "policy-denied"],
  access: { action: "list_tokens", resource: "Tokens", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const revokeToken = defineOperation({
  name: "policy.revoke-token",
  kind: "unary",
  summary: "Revoke a token, and with it every token that was made with it",
  http: { method: "DELETE", path: "/tokens/{id}", status: 200 },
  request: z.strictObject({ id: TokenId }),
  reply: Token,
  problems: ["not-found", "policy-denied"],
  access: { action: "revoke_token", resource: "Token", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});
