// The operations of the policy service.
import { handler, type ServeOptions } from "@aether/bus";
import {
  checkPolicy,
  createToken,
  decide,
  getToken,
  healthOperation,
  listAudit,
  listPolicies,
  listTokens,
  principalName,
  principalOf,
  requireDurationMs,
  revokeToken,
  type Token,
  verifyAudit,
} from "@aether/contracts";
import { approvalHandlers } from "./approval-handlers.ts";
import type { AuditLog } from "./audit-log.ts";
import type { AuditView } from "./audit-view.ts";
import { type Decider, resourceTypeOf } from "./decider.ts";
import type { Desk } from "./desk.ts";
import type { Engine } from "./engine.ts";
import type { Tokens } from "./tokens.ts";
import type { verifyLog } from "./verify.ts";

export interface HandlerParts {
  version: string;
  engine: Pick<Engine, "policies" | "warnings" | "version">;
  /** Why newer policies do not answer. */
  reloadError(): string | null;
  decider: Decider;
  desk: Desk;
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
      context: ({ as }) => (as === undefined ? {} : { as }),
      async handle({ action, resource, context, as, roles }, { principal: caller, token }) {
        const principal = as === undefined ? caller : { ...principalOf(as), ...(roles && { roles }) };
        const { type = resourceTypeOf(action), id = "*", labels = {} } = resource ?? {};
        const owner = resource?.owner ?? principalName(principal);
        const question = { principal, action, resource: { type, id, owner, labels }, context };
        const bearer = await tokens.verify(token, caller);
        const { outcome, reason, policies, policyVersion } = decider.judge(question, bearer);
        return { decision: outcome, reason, policies, policy_version: policyVersion };
      },
    }),
    handler(listPolicies, {
      async handle({ limit, cursor }) {
        const { policies, warnings, version } = parts.engine;
        const from = cursor === undefined ? 0 : policies.findIndex(({ id }) => id === cursor) + 1;
        const items = policies.slice(from, from + limit).map(({ timeoutMs: _, ...entry }) => entry);
        const next_cursor = from + limit < policies.length ? (items.at(-1)?.id ?? null) : null;
        return { policy_version: version, items, next_cursor, warnings: [...warnings], error: parts.reloadError() };
      },
    }),
    ...tokenHandlers(tokens),
    handler(listAudit, { handle: (request) => parts.view().list(request, log.sequence) }),
    handler(verifyAudit, { handle: () => parts.verify() }),
    ...approvalHandlers(parts.desk, log),
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
