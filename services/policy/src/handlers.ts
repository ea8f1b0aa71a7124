// The operations of the policy service.
import { handler, type ServeOptions } from "@aether/bus";
import {
  type Action,
  checkPolicy,
  createToken,
  decide,
  getToken,
  healthOperation,
  listAudit,
  listTokens,
  operations,
  principalName,
  type ResourceType,
  requireDurationMs,
  revokeToken,
  type Token,
  verifyAudit,
} from "@aether/contracts";
import type { AuditLog } from "./audit-log.ts";
import type { AuditView } from "./audit-view.ts";
import type { Decider } from "./decider.ts";
import type { Tokens } from "./tokens.ts";
import type { verifyLog } from "./verify.ts";

export interface HandlerParts {
  version: string;
  decider: Decider;
  tokens: Tokens;
  log: AuditLog;
  /** The view; it may still be catching up with a long log. */
  view(): AuditView;
  verify(): ReturnType<typeof verifyLog>;
  degraded(): string[];
}

export function policyHandlers(parts: HandlerParts): ServeOptions["handlers"] {
  const { decider, tokens, log } = parts;
  return [
    handler(decide, { handle: (request, { caller }) => decider.decide(request, caller) }),
    handler(checkPolicy, {
      async handle({ action, resource, context }, { principal, token }) {
        const owner = resource?.owner ?? principalName(principal);
        const about = { type: resource?.type ?? resourceTypeOf(action), id: resource?.id ?? "*", owner, labels: {} };
        const question = { principal, action, resource: about, context };
        const bearer = await tokens.verify(token, principal);
        const { outcome, reason, policies, policyVersion } = decider.judge(question, bearer);
        return { decision: outcome, reason, policies, policy_version: policyVersion };
      },
    }),
    ...tokenHandlers(tokens),
    handler(listAudit, { handle: (request) => parts.view().list(request, log.sequence) }),
    handler(verifyAudit, { handle: () => parts.verify() }),
    handler(healthOperation("policy"), {
      handle: async () => ({ version: parts.version, degraded: parts.degraded() }),
    }),
  ];
}

function tokenHandlers(tokens: Tokens): ServeOptions["handlers"] {
  const load = async ({ id }: { id: string }) => {
    const token = tokens.get(id);
    return token && { resource: { id, owner: token.owner, labels: {} }, value: token };
  };
  return [
    handler(createToken, {
      context: ({ ttl }) => ({ ttl_ms: requireDurationMs(ttl) }),
      async handle(wanted, { principal, token, createdId }) {
        const parent = await tokens.verify(token, principal);
        return tokens.mint(wanted, { id: createdId ?? "", principal, parent });
      },
    }),
    handler(listTokens, {
      async handle({ limit, cursor }, { principal, decision }) {
        const all = tokens.list(decision?.scope === "all" ? null : principalName(principal));
        const rest = cursor === undefined ? all : all.filter(({ id }) => id < cursor);
        const items = rest.slice(0, limit);
        return { items, next_cursor: rest.length > limit ? (items.at(-1)?.id ?? null) : null };
      },
    }),
    handler<typeof getToken, Token>(getToken, { load, handle: async (_, { loaded }) => loaded }),
    handler<typeof revokeToken, Token>(revokeToken, { load, handle: (_, { loaded }) => tokens.revoke(loaded) }),
  ];
}

/** The type of resource that an action is about, as the operations say; starting a job is about a job. */
function resourceTypeOf(action: Action): ResourceType {
  for (const { access } of operations) if ("action" in access && access.action === action) return access.resource;
  return "Job";
}
