// What becomes of approvals, grants and secrets as audit records: stored before it is so.
import type { Approval, Grant, Principal } from "@aether/contracts";
import { createDraft, type Draft, policyActor, toActor } from "./record.ts";

type Change = "answered" | "refused" | "expired" | "cancelled" | "revoked";

/** Null as its actor: policy itself. */
export interface Cause {
  principal: Principal;
  requestId: string;
}

export function approvalRecord(change: Change, approval: Approval, cause: Cause | null, note: string | null): Draft {
  const jobs = approval.subjects.flatMap(({ job_id }) => job_id ?? []);
  return createDraft({
    ...about(cause, approval.digest),
    action: `approval.${change}`,
    intent_id: approval.intent_id,
    job_id: jobs.length === 1 ? (jobs[0] ?? null) : null,
    resource: { type: "Approval", id: approval.id },
    note,
  });
}

export function grantRecord(change: "made" | "revoked", { id, rule, scope }: Grant, cause: Cause): Draft {
  return createDraft({
    ...about(cause, null),
    action: `grant.${change}`,
    intent_id: rule.intent_id,
    resource: { type: "Grant", id },
    note: `${scope}: ${rule.words}`,
  });
}

export function secretRecord(change: "set" | "cleared" | "wrong", of: string, cause: Cause): Draft {
  return createDraft({ ...about(cause, null), action: `secret.${change}`, resource: { type: "Approvals", id: of } });
}

function about(cause: Cause | null, digest: string | null): Pick<Draft, "kind" | "actor" | "provenance"> {
  return {
    kind: "approval",
    actor: cause ? toActor(cause.principal, "gateway") : policyActor,
    provenance: { request_id: cause?.requestId ?? null, digest, source: null },
  };
}
