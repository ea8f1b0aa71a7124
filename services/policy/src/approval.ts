// An approval and every change of it: pure functions from what is asked to a record, and from a record to the next one. Time and ids
// are passed in. A function that answers null leaves it as it is.
//
// A yes for once serves the jobs that it lists, each with all its attempts, or one request: whoever repeats exactly that request
// first, which with the same Idempotency-Key may be repeated.
import {
  type AnswerKind,
  Approval,
  type DecideRequest,
  JobId,
  limits,
  Principal,
  principalName,
} from "@aether/contracts";
import { z } from "zod";
import type { Prompt, Question, Scope } from "./engine.ts";
import { lastsMs, ruleOf } from "./grant.ts";
import { showPreview, showText } from "./prompt-text.ts";

/** The record as it is stored: with the question, to be judged again when it is answered. */
export const StoredApproval = Approval.extend({ asker: Principal, labels: z.record(z.string(), z.string()) });
export type StoredApproval = z.infer<typeof StoredApproval>;

/** A question that a person may be asked about. */
export type Askable = DecideRequest & { ask: NonNullable<DecideRequest["ask"]>; digest: string };

export function isAskable(request: DecideRequest): request is Askable {
  return request.ask !== undefined && request.digest !== null;
}

const scopeOf = { allow_once: "once", allow_session: "session", allow_always: "always" } as const;
const answerOf = { once: "allow_once", session: "allow_session", always: "allow_always" } as const;

/** How far an answer reaches; null for a no. */
export function toScope(answer: AnswerKind): Scope | null {
  return answer === "reject_once" ? null : scopeOf[answer];
}

/** What makes two questions the same: who asks, to do what, exactly. */
export function actKey(requester: string, { action, digest }: Pick<Askable, "action" | "digest">): string {
  return `${requester}\n${action}\n${digest}`;
}

/** Who asks, as it concerns who may answer. */
export function requesterOf({ principal }: Pick<DecideRequest, "principal">): Approval["requester"] {
  return { principal: principalName(principal), uid: uidOf(principal), owner: personOf(principal) };
}

/** Of an agent, the person it works for; null where that is not known. */
function personOf(principal: Principal): string | null {
  return principal.type === "Agent" ? (principal.owner ?? null) : principalName(principal);
}

/** The number that must not answer by itself: of a user his own, of an agent that does not say, its person's. */
function uidOf({ type, id, uid, owner }: Principal): number | null {
  if (uid !== undefined) return uid;
  const [, digits] = /^(?:user:)?(\d{1,10})$/.exec(type === "User" ? id : (owner ?? "")) ?? [];
  return digits === undefined ? null : Number(digits);
}

/** A new one, pending. */
export function makeApproval(
  request: Askable,
  prompt: Prompt,
  made: { id: string; supersedes: string | null; now: Date },
): StoredApproval {
  const { principal, action, resource, intent_id, context } = request;
  const at = made.now.toISOString();
  return {
    id: made.id,
    state: "pending",
    digest: request.digest,
    requester: requesterOf(request),
    action,
    resource: { type: resource.type, id: resource.id, owner: resource.owner },
    facts: context,
    intent_id,
    subjects: [toSubject(request, at)],
    why: prompt.why,
    ask: showText(prompt.ask),
    preview: showPreview(request.ask.preview),
    options: optionsOf(request, prompt),
    default: "reject_once",
    created_at: at,
    expires_at: after(made.now, prompt.timeoutMs),
    answered_at: null,
    answered_by: null,
    answer: null,
    comment: null,
    grant_id: null,
    supersedes: made.supersedes,
    uses: [],
    asker: askerOf(principal),
    labels: resource.labels,
  };
}

/** An equal question joins: a job is one more subject, a request is the same one again. Null where nothing changes. */
export function join(approval: StoredApproval, request: Askable, now: Date): StoredApproval | null {
  const subject = toSubject(request, now.toISOString());
  const known = approval.subjects.some((one) => one.subject === subject.subject);
  if (subject.job_id === null || known) return null;
  return { ...approval, subjects: [...approval.subjects, subject] };
}

/** Whether a yes serves this subject. */
export function serves({ state, subjects, uses }: StoredApproval, { ask }: Askable): boolean {
  const isUsedByIt = uses.some(({ subject }) => subject === ask.subject);
  if (state === "used") return isUsedByIt;
  if (state !== "approved") return false;
  const [first] = subjects;
  return first?.job_id ? subjects.some(({ subject }) => subject === ask.subject) : uses.length === 0 || isUsedByIt;
}

/** The yes is used, by this subject and attempt; null where they used it before. */
export function use(approval: StoredApproval, { ask }: Askable, now: Date): StoredApproval | null {
  const attempt = ask.attempt ?? 1;
  const { subjects } = approval;
  if (approval.uses.some((one) => one.subject === ask.subject && one.attempt === attempt)) return null;
  const uses = [...approval.uses, { subject: ask.subject, attempt, at: now.toISOString() }];
  const isRequest = subjects[0]?.job_id === null;
  const isAllUsed = isRequest || subjects.every(({ subject }) => uses.some((one) => one.subject === subject));
  return { ...approval, uses, state: isAllUsed ? "used" : approval.state };
}

/** A person has answered. A yes can be used for a while. */
export function settle(
  approval: StoredApproval,
  given: { answer: AnswerKind; by: string; comment: string | null; grantId: string | null },
  now: Date,
): StoredApproval {
  const isYes = given.answer !== "reject_once";
  return {
    ...approval,
    state: isYes ? "approved" : "denied",
    answer: given.answer,
    answered_by: given.by,
    answered_at: now.toISOString(),
    comment: given.comment === null ? null : showText(given.comment),
    grant_id: given.grantId,
    expires_at: isYes ? after(now, limits.approvalUsableMs) : approval.expires_at,
  };
}

/** Taken back before it was used up, or before it was answered; null where there is nothing to take back. */
export function takeBack(approval: StoredApproval): StoredApproval | null {
  const { state, subjects } = approval;
  if (state === "pending") return { ...approval, state: "cancelled" };
  // A job that has used it may have attempts left.
  if (state === "approved" || (state === "used" && subjects[0]?.job_id)) return { ...approval, state: "revoked" };
  return null;
}

/** Its time is over: nobody has answered, or nobody has used the yes. */
export function expire(approval: StoredApproval, now: Date): StoredApproval | null {
  const isOpen = approval.state === "pending" || approval.state === "approved";
  if (!isOpen || Date.parse(approval.expires_at) > now.getTime()) return null;
  return { ...approval, state: approval.uses.length > 0 ? "used" : "expired" };
}

/** Of the jobs that wait, this one does no more; without a subject left the question is withdrawn. */
export function withdraw(approval: StoredApproval, jobId: string): StoredApproval | null {
  if (approval.state !== "pending") return null;
  const left = approval.subjects.filter(({ subject }) => subject !== jobId);
  if (left.length === approval.subjects.length) return null;
  return left.length > 0 ? { ...approval, subjects: left } : { ...approval, state: "cancelled" };
}

/** The question with an answer in it, for policy to judge. */
export function questionOf(
  { asker, action, resource, labels, facts }: StoredApproval,
  by: string,
  scope: Scope,
): Question {
  return { principal: asker, action, resource: { ...resource, labels }, context: facts, approval: { by, scope } };
}

/** The record as it is answered. */
export function toPublic({ asker: _asker, labels: _labels, ...said }: StoredApproval): Approval {
  return said;
}

function optionsOf(request: Askable, { scopes }: Prompt): Approval["options"] {
  const offered = scopes.filter((scope) => scope !== "session" || request.intent_id !== null);
  const yes = offered.map((scope): Approval["options"][number] => {
    if (scope === "once") return { kind: "allow_once", rule: null, lasts_ms: null };
    return { kind: answerOf[scope], rule: ruleOf(request, scope), lasts_ms: lastsMs[scope] };
  });
  return [...yes, { kind: "reject_once", rule: null, lasts_ms: null }];
}

function toSubject({ ask }: Askable, at: string): Approval["subjects"][number] {
  const job = JobId.safeParse(ask.subject);
  return { subject: ask.subject, job_id: ask.preview.kind === "job" && job.success ? job.data : null, at };
}

/** What a judgement needs of him: no groups, no process. */
function askerOf({ type, id, roles, uid, owner }: Principal): Principal {
  return { type, id, roles, ...(uid !== undefined && { uid }), ...(owner !== undefined && { owner }) };
}

function after(now: Date, ms: number): string {
  return new Date(now.getTime() + ms).toISOString();
}
