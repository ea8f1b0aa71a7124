// The operations of the policy service.
import { basename } from "node:path";
import { handler, type ServeOptions } from "@aether/bus";
import {
  type Action,
  archiveAudit,
  checkPolicy,
  decide,
  exportAudit,
  getAudit,
  healthOperation,
  listAudit,
  operations,
  ProblemError,
  principalName,
  type ResourceType,
  verifyAudit,
} from "@aether/contracts";
import type { AuditLog } from "./audit-log.ts";
import type { AuditView } from "./audit-view.ts";
import type { Decider } from "./decider.ts";
import type { proveRecord } from "./prove.ts";
import type { verifyLog } from "./verify.ts";

export interface HandlerParts {
  version: string;
  decider: Decider;
  log: AuditLog;
  /** The view; it may still be catching up with a long log. */
  view(): AuditView;
  verify(): ReturnType<typeof verifyLog>;
  prove(place: Parameters<typeof proveRecord>[1]): ReturnType<typeof proveRecord>;
  degraded(): string[];
}

export function policyHandlers(parts: HandlerParts): ServeOptions["handlers"] {
  const { decider, log } = parts;
  /** A filter as records have what it names. */
  const keyed = <T extends { digest?: string | undefined }>(filters: T): T =>
    filters.digest === undefined ? filters : { ...filters, digest: log.digests.key(filters.digest) };
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
    handler(listAudit, { handle: (request) => parts.view().list(keyed(request), log.sequence) }),
    handler(exportAudit, {
      async handle(request) {
        const { text, ...reply } = await parts.view().export(keyed(request), log.sequence);
        return { reply, bytes: new TextEncoder().encode(text) };
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
