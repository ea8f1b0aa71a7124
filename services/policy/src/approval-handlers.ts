// The operations of approvals and grants. What may be seen and who may answer, policy decides as for every resource.
import { createHash } from "node:crypto";
import { type Call, handler, type ServeOptions } from "@aether/bus";
import {
  type Approval,
  answerApproval,
  getApproval,
  listApprovals,
  listGrants,
  type Principal,
  ProblemError,
  principalName,
  type Reply,
  type Request,
  requireDurationMs,
  revokeApproval,
  revokeGrant,
  setHumanSecret,
} from "@aether/contracts";
import { toPublic } from "./approval.ts";
import { type Cause, secretRecord } from "./approval-records.ts";
import type { AuditLog } from "./audit-log.ts";
import type { Desk } from "./desk.ts";

export function approvalHandlers(desk: Desk, log: Pick<AuditLog, "append">): ServeOptions["handlers"] {
  const { approvals, grants, secrets, answering } = desk;
  const load = async ({ id }: { id: string }) => {
    const found = approvals.get(id);
    return found ? { resource: resourceOf(id, found.requester.owner, found.requester.principal), value: found } : null;
  };
  const loadGrant = async ({ id }: { id: string }) => {
    const found = grants.get(id);
    return found ? { resource: resourceOf(id, found.owner, found.rule.principal), value: found } : null;
  };

  return [
    handler(listApprovals, {
      async handle(request, call) {
        const deadline = performance.now() + (request.wait ? requireDurationMs(request.wait) : 0);
        for (;;) {
          const reply = list(request, call);
          const leftMs = deadline - performance.now();
          if (reply.items.length > 0 || leftMs <= 0 || call.closing.aborted) return reply;
          await approvals.changed(leftMs, call.closing);
        }
      },
    }),
    handler(getApproval, { load, handle: async (_request, { loaded }) => toPublic(loaded) }),
    handler(answerApproval, {
      load,
      // Without the secret, which a digest in the log would let others guess at.
      digest: ({ id, option, digest }) => sha256(`${id}\n${option}\n${digest}`),
      preview: ({ id, option }) => ({
        kind: "operation",
        words: `Answer ${option}`,
        operation: answerApproval.name,
        request: { id },
      }),
      handle: ({ id, ...given }, call) => answering.answer(id, given, causeOf(call)),
    }),
    handler(revokeApproval, { load, handle: ({ id }, call) => answering.revoke(id, causeOf(call)) }),
    handler(listGrants, {
      async handle({ principal, limit, cursor }, call) {
        const found = grants
          .newestFirst()
          .filter(
            ({ id, owner, rule }) =>
              (!cursor || id < cursor) &&
              (!principal || rule.principal === principal) &&
              isSeen(call, owner, rule.principal),
          );
        return toPage(found, limit);
      },
    }),
    handler(revokeGrant, { load: loadGrant, handle: ({ id }, call) => answering.revokeGrant(id, causeOf(call)) }),
    handler(setHumanSecret, {
      context: ({ secret, of }) => ({ clears: secret === null, ...(of !== undefined && { of }) }),
      digest: () => null,
      async handle({ secret, old, of }, call) {
        const self = principalName(call.principal);
        const uid = requireUid(of, call.principal);
        if (of !== undefined && of !== self && secret !== null) {
          throw new ProblemError("policy-denied", { detail: "somebody else's secret can be cleared, not set" });
        }
        const isOwn = of === undefined || of === self;
        const cause = causeOf(call);
        const isFirst = !secrets.has(uid);
        if (isOwn && !isFirst) {
          await secrets.require(uid, old, () => log.append([secretRecord("wrong", `user:${uid}`, cause)]));
        }
        await log.append([secretRecord(secret === null ? "cleared" : "set", `user:${uid}`, cause)]);
        await secrets.set(uid, secret, isFirst);
        return { principal: `user:${uid}`, is_set: secret !== null };
      },
    }),
  ];

  function list(request: Request<typeof listApprovals>, call: Call): Reply<typeof listApprovals> {
    const { state, intent_id, job_id, after, limit, cursor } = request;
    const revision = approvals.revision;
    const found: Approval[] = [];
    for (const approval of approvals.newestFirst()) {
      if (found.length > limit) break;
      const { id, requester, subjects } = approval;
      const isAsked =
        (!cursor || id < cursor) &&
        (!state || state.includes(approval.state)) &&
        (!intent_id || approval.intent_id === intent_id) &&
        (!job_id || subjects.some((subject) => subject.job_id === job_id)) &&
        (after === undefined || approvals.revisionOf(id) > after);
      if (isAsked && isSeen(call, requester.owner, requester.principal)) found.push(toPublic(approval));
    }
    return { ...toPage(found, limit), revision };
  }
}

/** Of a list, what its asker may see: everybody's, or what he asked or is asked about. */
function isSeen({ decision, principal }: Call, owner: string | null, requester: string): boolean {
  const self = principalName(principal);
  return decision?.scope === "all" || owner === self || requester === self;
}

function toPage<T extends { id: string }>(found: T[], limit: number): { items: T[]; next_cursor: string | null } {
  const items = found.slice(0, limit);
  return { items, next_cursor: found.length > limit ? (items.at(-1)?.id ?? null) : null };
}

function resourceOf(id: string, owner: string | null, requester: string) {
  return { id, owner, labels: { requester } };
}

function causeOf({ principal, requestId }: Pick<Call, "principal" | "requestId">): Cause {
  return { principal, requestId };
}

function requireUid(of: string | undefined, principal: Principal): number {
  const uid = of === undefined ? principal.uid : Number(of.slice("user:".length));
  if (uid === undefined) throw new ProblemError("policy-denied", { detail: "only people have such a secret" });
  return uid;
}

function sha256(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}
