// Jobs that wait for a person, moved on by what becomes of their approvals. KV `approvals` is policy's; here it is only
// followed. A yes queues a job and nothing more: whether it may start is decided, and the yes used up, when it starts.
//
// Any number of instances may follow, and any may die in between: every step is one compare-and-set that does nothing where it
// was made already. What was answered before this instance followed, and an answer that met no stored job yet, is found by
// looking: after storing a job that waits, and now and then at all that wait.
import { type Bus, type Entry, openBucket, startTail, streamState, type TailMessage } from "@aether/bus";
import { Approval } from "@aether/contracts";
import type { z } from "zod";
import type { Awaiting, JobIndex } from "./index-view.ts";
import { type Answered, type StoredJob, settle } from "./job.ts";
import type { Store } from "./store.ts";

const stream = "KV_approvals";
const subjects = "$KV.approvals.";
const lookAtOnce = 200;

/** The part of an approval that its jobs wait for. */
const ApprovalRecord = Approval.pick({ id: true, state: true, subjects: true, answered_by: true, comment: true });
type ApprovalRecord = z.infer<typeof ApprovalRecord>;

export interface Approvals extends AsyncDisposable {
  /** Looks at everything that waits. */
  look(): Promise<void>;
  /** The job as it is after a look at what it stands on. */
  recheck(entry: Entry<StoredJob>): Promise<Entry<StoredJob>>;
}

/** Starts following. */
export async function followApprovals(parts: { bus: Bus; store: Store; index: JobIndex }): Promise<Approvals> {
  const { bus, store, index } = parts;
  const bucket = openBucket(bus, "approvals", ApprovalRecord);
  const tail = startTail(bus, {
    stream,
    subject: `${subjects}>`,
    from: (await streamState(bus, stream)).lastSequence + 1,
    async onMessages(messages) {
      for (const approval of messages.flatMap((message) => toApproval(bus, message))) await settleJobs(approval);
    },
  });

  async function settleJobs(approval: ApprovalRecord): Promise<void> {
    const answered = toAnswered(approval);
    if (!answered) return;
    for (const { job_id } of approval.subjects) {
      if (job_id) await store.change(job_id, (job, at) => settle(job, answered, at));
    }
  }

  /** What became of it; one that is not kept any more was not answered while it could have been. */
  async function answerOf(id: string): Promise<Answered | null> {
    const found = await bucket.get(id);
    return found ? toAnswered(found.value) : { id, answer: "expired", message: "nobody answered in time" };
  }

  return {
    async look() {
      for (let after: Awaiting | null = null, page: Awaiting[]; ; after = page.at(-1) ?? null) {
        page = index.awaiting(after, lookAtOnce);
        for (const [approvalId, jobs] of Map.groupBy(page, ({ approvalId }) => approvalId)) {
          const answered = await answerOf(approvalId);
          for (const { id } of answered ? jobs : []) {
            await store.change(id, (job, at) => answered && settle(job, answered, at));
          }
        }
        if (page.length < lookAtOnce) return;
      }
    },
    async recheck(entry) {
      const { id, approval_id, state } = entry.value;
      if ((state !== "awaiting_approval" && state !== "queued") || approval_id === null) return entry;
      const answered = await answerOf(approval_id);
      return (answered && (await store.change(id, (job, at) => settle(job, answered, at), entry))) ?? entry;
    },
    [Symbol.asyncDispose]: () => tail[Symbol.asyncDispose](),
  };
}

function toApproval(bus: Bus, { subject, sequence, data }: TailMessage): ApprovalRecord[] {
  if (!data || !subject.startsWith(`${subjects}apr_`)) return [];
  const parsed = ApprovalRecord.safeParse(JSON.parse(new TextDecoder().decode(data)));
  if (!parsed.success)
    bus.log.error({ err: parsed.error, sequence }, "an approval cannot be read; looking again finds it");
  return parsed.success ? [parsed.data] : [];
}

/** Null while nobody has answered. */
function toAnswered({ id, state, answered_by: by, comment }: ApprovalRecord): Answered | null {
  const who = by ? ` by ${by}` : "";
  const why = comment ? `: ${comment}` : "";
  switch (state) {
    case "pending":
      return null;
    case "approved":
    case "used":
      return { id, answer: "yes", message: "" };
    case "denied":
      return { id, answer: "no", message: `denied${who}${why}` };
    case "revoked":
      return { id, answer: "no", message: `the approval was taken back${why}` };
    case "cancelled":
      return { id, answer: "no", message: "the question was withdrawn" };
    case "expired":
      return { id, answer: "expired", message: "nobody answered in time" };
  }
}
