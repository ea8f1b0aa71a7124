// The operations of the policy service.
import { handler, type ServeOptions } from "@aether/bus";
import {
  checkPolicy,
  decide,
  healthOperation,
  listAudit,
  listPolicies,
  principalName,
  verifyAudit,
} from "@aether/contracts";
import { approvalHandlers } from "./approval-handlers.ts";
import type { AuditLog } from "./audit-log.ts";
import type { AuditView } from "./audit-view.ts";
import { type Decider, resourceTypeOf } from "./decider.ts";
import type { Desk } from "./desk.ts";
import type { Engine } from "./engine.ts";
import { type People, principalNamed } from "./people.ts";
import { tokenHandlers } from "./token-handlers.ts";
import type { Tokens } from "./tokens.ts";
import type { verifyLog } from "./verify.ts";

export interface HandlerParts {
  version: string;
  engine: Pick<Engine, "policies" | "warnings" | "version">;
  /** Why newer policies do not answer. */
  reloadError(): string | null;
  operators: People;
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
        const principal = as === undefined ? caller : principalNamed(as, parts.operators, roles);
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
    ...tokenHandlers(tokens, decider),
    handler(listAudit, { handle: (request) => parts.view().list(request, log.sequence) }),
    handler(verifyAudit, { handle: () => parts.verify() }),
    ...approvalHandlers(parts.desk, log),
    handler(healthOperation("policy"), {
      handle: async () => ({ version: parts.version, degraded: parts.degraded() }),
    }),
  ];
}
