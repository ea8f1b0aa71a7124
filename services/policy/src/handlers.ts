// The operations of the policy service.
import { basename } from "node:path";
import { handler, type ServeOptions } from "@aether/bus";
import {
  type Action,
  archiveAudit,
  checkPolicy,
  decide,
  getAudit,
  healthOperation,
  listAudit,
  operations,
  ProblemError,
  principalName,
  type ResourceType,
  verifyAudit,
} from "@aether/contracts";
import { approvalHandlers } from "./approval-handlers.ts";
import type { AuditLog } from "./audit-log.ts";
import type { AuditView } from "./audit-view.ts";
import type { Decider } from "./decider.ts";
import type { Desk } from "./desk.ts";
import type { proveRecord } from "./prove.ts";
import type { verifyLog } from "./verify.ts";

export interface HandlerParts {
  version: string;
  decider: Decider;
  desk: Desk;
  log: AuditLog;
  /** The view; it may still be catching up with a long log. */
  view(): AuditView;
  verify(): ReturnType<typeof verifyLog>;
  prove(place: Parameters<typeof proveRecord>[1]): ReturnType<typeof proveRecord>;
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
    handler(listAudit, {
      async handle({ digest, ...request }) {
        const wanted = digest === undefined ? request : { ...request, digest: log.digests.key(digest) };
        return parts.view().list(wanted, log.sequence);
      },
    }),
    handler(getAudit, {
      async handle({ id }) {
        const place = await parts.view().find(id, log.sequence);
        const found = place && (await parts.prove(place));
        if (!found) throw new ProblemError("not-found");
        return found;
      },
    }),
    handler(archiveAudit, {
      async handle() {
        const segments = await log.sealAll().catch((error: unknown) => {
          throw new ProblemError("storage-full", { detail: "audit records cannot be sealed" }, { cause: error });
        });
        return {
          segments: segments.map(({ file, seal: { first_seq, last_seq, bytes } }) => ({
            ...{ file: basename(file), first_seq, last_seq, bytes },
          })),
          unsealed_bytes: log.space.unsealedBytes,
          max_bytes: log.space.maxBytes,
        };
      },
    }),
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
