// The record of an approval → what happened to it: it was asked, joined by another that asks the same, answered, used, or ended.
// It is told to the person who may answer: of an agent, to whom it works for. The bucket keeps only the newest record, so what
// lay between two that were seen is told by the second one alone.
import type { TailMessage } from "@aether/bus";
import { Approval } from "@aether/contracts";
import type { z } from "zod";
import type { Change } from "./source.ts";

const prefix = "$KV.approvals.apr_";

/** The part of a stored record that events are made from. */
const ApprovalRecord = Approval.pick({
  ...{ id: true, state: true, requester: true, action: true, ask: true, intent_id: true, subjects: true },
  ...{ created_at: true, answered_at: true, answered_by: true, answer: true, grant_id: true, uses: true },
});
type ApprovalRecord = z.infer<typeof ApprovalRecord>;

/** What a message of the bucket says; null for what is no approval, and for one that is kept no longer. */
export function readApprovalChange({ subject, data, sequence, time }: TailMessage): Change | null {
  if (!data || !subject.startsWith(prefix)) return null;
  const approval = ApprovalRecord.parse(JSON.parse(new TextDecoder().decode(data)));
  const { id, requester, intent_id, subjects, state, uses } = approval;
  const { verb, at } = whatHappened(approval, time);
  const happening = {
    revision: sequence,
    type: `dev.aether.approval.${verb}.v1`,
    time: at,
    data: {
      ...{ state, requester: requester.principal, action: approval.action, ask: approval.ask },
      ...{ answer: approval.answer, answered_by: approval.answered_by, grant_id: approval.grant_id },
      ...{ jobs: subjects.flatMap(({ job_id }) => job_id ?? []), used_by: uses.at(-1)?.subject ?? null },
    },
  };
  return {
    key: id,
    owner: requester.owner ?? requester.principal,
    intentId: intent_id,
    jobId: subjects.length === 1 ? (subjects[0]?.job_id ?? null) : null,
    traceparent: null,
    happenings: [happening],
    isOpen: state === "pending" || state === "approved",
  };
}

function whatHappened(approval: ApprovalRecord, stored: Date): { verb: string; at: string } {
  const { state, subjects, uses } = approval;
  const now = stored.toISOString();
  const last = uses.at(-1);
  if (last) return { verb: state === "revoked" ? state : "used", at: last.at };
  if (state === "pending" && subjects.length > 1) return { verb: "joined", at: now };
  if (state === "pending") return { verb: "requested", at: approval.created_at };
  return { verb: state, at: state === "approved" || state === "denied" ? (approval.answered_at ?? now) : now };
}
