// Answers, and what takes them back. One after the other, and each against the approval as it is at that moment: the first answer
// counts, the second is told what it was. Nothing holds before its record is stored.
//
// Who asked does not answer for himself, and neither does a program under the same uid: a yes under the uid of who asks needs
// the secret that its person has set. A no needs none.
import {
  type AnswerKind,
  type Approval,
  createId,
  type Grant,
  type Principal,
  ProblemError,
  principalName,
} from "@aether/contracts";
import { expire, questionOf, type StoredApproval, settle, takeBack, toPublic, toScope, withdraw } from "./approval.ts";
import { approvalRecord, type Cause, grantRecord } from "./approval-records.ts";
import type { Approvals } from "./approvals.ts";
import type { AuditLog } from "./audit-log.ts";
import type { Engine, Scope } from "./engine.ts";
import { covers, lastsMs, ruleOf } from "./grant.ts";
import type { Grants } from "./grants.ts";
import type { HumanSecrets } from "./human-secret.ts";
import { showText } from "./prompt-text.ts";

const nobodysUid = -1;
const recordsAtOnce = 200;
const reserve = { reserve: true };

interface Given {
  option: AnswerKind;
  digest: string;
  secret?: string | undefined;
  comment?: string | undefined;
}

export interface Answering {
  answer(id: string, given: Given, cause: Cause): Promise<Approval>;
  /** Takes back a yes that is not used up, or withdraws a question. */
  revoke(id: string, cause: Cause): Promise<Approval>;
  revokeGrant(id: string, cause: Cause): Promise<Grant>;
  /** A job has ended: nothing has to be answered for it any more. */
  jobEnded(jobId: string): Promise<void>;
  /** Ends what has waited too long. */
  expire(): Promise<void>;
}

export function createAnswering(parts: {
  engine: Pick<Engine, "judge">;
  approvals: Approvals;
  grants: Grants;
  secrets: HumanSecrets;
  log: Pick<AuditLog, "append">;
  clock: { now(): Date };
  /** Told how a question ended, and after which time. */
  onEnd(how: string, waitedMs: number): void;
}): Answering {
  const { engine, approvals, grants, secrets, log, clock, onEnd } = parts;
  let turn: Promise<unknown> = Promise.resolve();

  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = turn.then(act);
    turn = done.catch(() => {});
    return done;
  }

  function requirePending(id: string, digest: string): StoredApproval {
    const approval = approvals.get(id);
    if (!approval) throw new ProblemError("not-found");
    if (approval.digest !== digest) throw conflict("it is about something else: the digest is not the approval's");
    if (approval.state !== "pending") throw conflict(becameOf(approval));
    if (Date.parse(approval.expires_at) <= clock.now().getTime())
      throw conflict(`it expired at ${approval.expires_at}`);
    return approval;
  }

  /** Whether policies, as they are now, accept this yes of this person. */
  function isAccepted(approval: StoredApproval, by: string, scope: Scope): boolean {
    return engine.judge(questionOf(approval, by, scope)).outcome === "allow";
  }

  /** What else of the same asker waits for what the grant allows. */
  function answeredToo(grant: Grant, answered: StoredApproval): StoredApproval[] {
    return approvals.pending(grant.rule.principal).filter((one) => {
      const { asker, action, resource, labels, facts, intent_id } = one;
      const asked = { principal: asker, action, resource: { ...resource, labels }, context: facts, intent_id };
      return one.id !== answered.id && covers(grant.rule, asked) && isAccepted(one, grant.by, grant.scope);
    });
  }

  async function change(id: string, how: (approval: StoredApproval) => StoredApproval | null) {
    const current = approvals.get(id);
    const next = current ? how(current) : null;
    if (current?.state === "pending" && next && next.state !== "pending") {
      onEnd(next.answer ?? next.state, clock.now().getTime() - Date.parse(current.created_at));
    }
    if (next) await approvals.put(next);
    return next;
  }

  async function settleNow(id: string, { option, digest, ...given }: Given, cause: Cause): Promise<Approval> {
    const { comment = null } = given;
    const approval = requirePending(id, digest);
    const by = principalName(cause.principal);
    const scope = toScope(option);
    if (scope && !isAccepted(approval, by, scope)) throw conflict("the policies of now do not accept this answer");
    const grant = scope && scope !== "once" ? makeGrant(approval, { scope, by, comment }, clock.now()) : null;
    if (grant) grants.requireRoom(grant.rule);
    const others = grant ? answeredToo(grant, approval) : [];
    const note = comment === null ? option : `${option}: ${showText(comment)}`;
    await log.append([
      ...[approval, ...others].map((one) => approvalRecord("answered", one, cause, note)),
      ...(grant ? [grantRecord("made", grant, cause)] : []),
    ]);
    requirePending(id, digest); // while that was stored it may have been withdrawn
    if (grant) await grants.put(grant);
    const answer = { answer: option, by, comment, grantId: grant?.id ?? null };
    const answered = (one: StoredApproval) => (one.state === "pending" ? settle(one, answer, clock.now()) : null);
    for (const { id: other } of others) await change(other, answered);
    return toPublic((await change(id, answered)) ?? approval);
  }

  async function revokeNow(id: string, cause: Cause): Promise<Approval> {
    const approval = approvals.get(id);
    if (!approval) throw new ProblemError("not-found");
    const becomes = takeBack(approval)?.state;
    if (becomes === undefined) throw conflict(becameOf(approval));
    await log.append([approvalRecord(becomes === "cancelled" ? becomes : "revoked", approval, cause, null)], reserve);
    const taken = await change(id, takeBack);
    if (!taken) throw conflict(becameOf(approvals.get(id) ?? approval)); // used while that was stored
    return toPublic(taken);
  }

  /** With it goes every yes that it gave and that nobody has used. */
  async function revokeGrantNow(id: string, cause: Cause): Promise<Grant> {
    const grant = grants.get(id);
    if (!grant) throw new ProblemError("not-found");
    const unused = [...approvals.newestFirst()].filter((one) => one.grant_id === id && one.state === "approved");
    const records = unused.map((one) => approvalRecord("revoked", one, cause, `with ${id}`));
    await log.append([grantRecord("revoked", grant, cause), ...records], reserve);
    await grants.remove(grant);
    for (const { id: waiting } of unused) await change(waiting, takeBack);
    return grant;
  }

  async function withdrawNow(id: string, jobId: string): Promise<void> {
    const left = approvals.get(id);
    if (left && withdraw(left, jobId)?.state === "cancelled") {
      const ended = approvalRecord("cancelled", left, null, "the job that asked has ended");
      await log.append([ended]);
    }
    await change(id, (approval) => withdraw(approval, jobId));
  }

  /** Questions that nobody answered, and yeses that nobody used in their time. */
  async function expireNow(): Promise<void> {
    const late = [...approvals.newestFirst()].filter((approval) => expire(approval, clock.now()));
    for (let at = 0; at < late.length; at += recordsAtOnce) {
      const some = late.slice(at, at + recordsAtOnce);
      await log.append(some.map((approval) => approvalRecord("expired", approval, null, null)));
      for (const { id } of some) await change(id, (approval) => expire(approval, clock.now()));
    }
  }

  return {
    async answer(id, given, cause) {
      const approval = requirePending(id, given.digest);
      requireOffered(approval, given.option);
      if (given.option !== "reject_once" && isSelf(approval, cause.principal)) {
        await secrets.require(cause.principal.uid ?? nobodysUid, given.secret, () =>
          log.append([approvalRecord("refused", approval, cause, "the secret is wrong")]),
        );
      }
      return inTurn(() => settleNow(id, given, cause));
    },
    revoke: (id, cause) => inTurn(() => revokeNow(id, cause)),
    revokeGrant: (id, cause) => inTurn(() => revokeGrantNow(id, cause)),
    async jobEnded(jobId) {
      const waiting = approvals.pending().filter(({ subjects }) => subjects.some(({ subject }) => subject === jobId));
      for (const { id } of waiting) await inTurn(() => withdrawNow(id, jobId));
    },
    expire: () => inTurn(expireNow),
  };
}

function requireOffered({ options }: StoredApproval, option: AnswerKind): void {
  if (options.some(({ kind }) => kind === option)) return;
  const message = `is not offered: ${options.map(({ kind }) => kind).join(", ")}`;
  throw new ProblemError("invalid-request", { detail: `option: ${message}`, errors: [{ path: "option", message }] });
}

function isSelf({ requester }: StoredApproval, principal: Principal): boolean {
  return requester.principal === principalName(principal) || requester.uid === (principal.uid ?? nobodysUid);
}

function makeGrant(
  { id, asker, action, resource, labels, facts, intent_id, requester }: StoredApproval,
  given: { scope: "session" | "always"; by: string; comment: string | null },
  now: Date,
): Grant {
  const asked = { principal: asker, action, resource: { ...resource, labels }, context: facts, intent_id };
  return {
    id: createId("grt", now.getTime()),
    scope: given.scope,
    rule: ruleOf(asked, given.scope),
    owner: requester.owner,
    by: given.by,
    approval_id: id,
    comment: given.comment === null ? null : showText(given.comment),
    created_at: now.toISOString(),
    expires_at: new Date(now.getTime() + lastsMs[given.scope]).toISOString(),
    last_used_at: null,
    uses: 0,
  };
}

function becameOf({ state, answer, answered_by, answered_at, expires_at }: StoredApproval): string {
  if (state === "expired") return `it expired at ${expires_at}; what asked can ask again`;
  if (state === "cancelled") return "it was withdrawn";
  const taken = state === "revoked" ? ", and taken back" : state === "used" ? ", and is used" : "";
  return `it was answered ${answer} by ${answered_by} at ${answered_at}${taken}`;
}

function conflict(detail: string): ProblemError {
  return new ProblemError("conflict", { detail });
}
