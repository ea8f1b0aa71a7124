// The operations of the policy service.
import { handler, type ServeOptions } from "@aether/bus";
import {
  type Action,
  checkPolicy,
  decide,
  healthOperation,
  listAudit,
  operations,
  principalName,
  type ResourceType,
  verifyAudit,
} from "@aether/contracts";
import { approvalHandlers } from "./approval-handlers.ts";
import type { AuditLog } from "./audit-log.ts";
import type { AuditView } from "./audit-view.ts";
import type { Decider } from "./decider.ts";
import type { Desk } from "./desk.ts";
import type { verifyLog } from "./verify.ts";

export interface HandlerParts {
  version: string;
  decider: Decider;
  desk: Desk;
  log: AuditLog;
  /** The view; it may still be catching up with a long log. */
  view(): AuditView;
  verify(): ReturnType<typeof verifyLog>;
  degraded(): string[];
}

export function policyHandlers(parts: HandlerParts): ServeOptions["handlers"] {
  const { decider, log } = parts;
  return [
    handler(decide, { handle: (request, { caller }) => decider.decide(request, caller) }),
    handler(checkPolicy, {
      async handle({ action, resource, context }, { principal }) {
        const owner = resource?.owner ?? principalName(principal);
        const about = { type: resource?.type ?? resourceTypeOf(action), owner, labels: {} };
        const { outcome, reason, policies, policyVersion } = decider.judge({
          principal,
          action,
          resource: about,
          context,
        });
        return { decision: outcome, reason, policies, policy_version: policyVersion };
      },
    }),
    handler(listAudit, { handle: (request) => parts.view().list(request, log.sequence) }),
    handler(verifyAudit, { handle: () => parts.verify() }),
    ...approvalHandlers(parts.desk, log),
    handler(healthOperation("policy"), {
      handle: async () => ({ version: parts.version, degraded: parts.degraded() }),
    }),
  ];
}

/** The type of resource that an action is about, as the operations say; starting a job is about a job. */
function resourceTypeOf(action: Action): ResourceType {
  for (const { access } of operations) if ("action" in access && access.action === action) return access.resource;
  return "Job";
}
