// What a question comes to that policy would have a person asked about: a grant allows it, a yes to exactly this is used, or a person
// is asked, once however often the question comes. A yes is held against the policies of now, stored as used before anything
// is allowed by it, and used by one subject and attempt only once: who asks again after a crash gets the same answer.
import {
  createId,
  type DecideReply,
  type DecideRequest,
  type Grant,
  limits,
  ProblemError,
  principalName,
} from "@aether/contracts";
import {
  type Askable,
  actKey,
  isAskable,
  join,
  makeApproval,
  requesterOf,
  type StoredApproval,
  serves,
  toScope,
  use,
} from "./approval.ts";
import type { Approvals } from "./approvals.ts";
import type { Engine, Verdict, Yes } from "./engine.ts";
import type { Grants } from "./grants.ts";
import type { HumanSecrets } from "./human-secret.ts";
import { type People, whyNobody } from "./people.ts";

export interface Outcome {
  outcome: DecideReply["outcome"];
  reason: string;
  policies: string[];
  approval: string | null;
  grant: string | null;
}

export interface Asking {
  /** What a request comes to whose verdict is `ask`. */
  resolve(request: DecideRequest, verdict: Verdict): Promise<Outcome>;
}

export function createAsking(parts: {
  engine: Pick<Engine, "judge">;
  approvals: Approvals;
  grants: Grants;
  secrets: Pick<HumanSecrets, "has">;
  operators: People;
  clock: { now(): Date };
}): Asking {
  const { engine, approvals, grants, secrets, operators, clock } = parts;

  /** The verdict with a yes in it; null where policies do not accept it. */
  function accepted(request: DecideRequest, yes: Yes): Verdict | null {
    const verdict = engine.judge({ ...request, approval: yes });
    return verdict.outcome === "allow" ? verdict : null;
  }

  function findGrant(request: DecideRequest): { grant: Grant; verdict: Verdict } | null {
    for (const grant of grants.about(request, clock.now())) {
      const verdict = accepted(request, { by: grant.by, scope: grant.scope });
      if (verdict) return { grant, verdict };
    }
    return null;
  }

  function findYes(
    same: readonly StoredApproval[],
    request: Askable,
  ): { approval: StoredApproval; verdict: Verdict } | null {
    for (const approval of same) {
      const scope = approval.answer && toScope(approval.answer);
      const isLate = approval.state === "approved" && Date.parse(approval.expires_at) <= clock.now().getTime();
      if (!scope || isLate || !serves(approval, request)) continue;
      const verdict = accepted(request, { by: approval.answered_by ?? "", scope });
      if (verdict) return { approval, verdict };
    }
    return null;
  }

  function sameAct(request: Askable): StoredApproval[] {
    return approvals.about(actKey(principalName(request.principal), request));
  }

  /** What a grant allows; a question that the grant answered is used with it. */
  async function byGrant(request: DecideRequest): Promise<Outcome | null> {
    const found = findGrant(request);
    if (!found) return null;
    const { grant, verdict } = found;
    let approval: string | null = null;
    if (isAskable(request)) {
      const answered = sameAct(request).find((one) => one.grant_id === grant.id && serves(one, request));
      if (answered) await consume(answered, request);
      approval = answered?.id ?? null;
    }
    if (request.ask?.mode !== "ask") grants.used(grant, clock.now());
    return allowed(verdict, grant.by, { approval, grant: grant.id });
  }

  async function consume(approval: StoredApproval, request: Askable): Promise<void> {
    if (request.ask.mode === "ask") return;
    const used = use(approval, request, clock.now());
    if (used && used.uses.length > limits.approvalUses) {
      throw tooMany(`a yes can be used ${limits.approvalUses} times`);
    }
    await (used ? approvals.put(used) : approvals.ensure(approval.id));
  }

  async function ask(same: readonly StoredApproval[], request: Askable, verdict: Verdict): Promise<StoredApproval> {
    const now = clock.now();
    const pending = same.find(({ state, expires_at }) => state === "pending" && Date.parse(expires_at) > now.getTime());
    if (pending) {
      const joined = join(pending, request, now);
      if (joined && joined.subjects.length > limits.approvalSubjects) {
        throw tooMany(`${limits.approvalSubjects} jobs wait for the answer to ${pending.id}`);
      }
      await (joined ? approvals.put(joined) : approvals.ensure(pending.id));
      return pending;
    }
    requireRoom(principalName(request.principal));
    const { prompt } = verdict;
    if (!prompt) throw new Error("a verdict that asks says what to ask");
    const made = makeApproval(request, prompt, {
      id: createId("apr", now.getTime()),
      supersedes: same[0]?.id ?? null,
      now,
    });
    await approvals.put(made);
    return made;
  }

  function requireRoom(requester: string): void {
    if (approvals.pending(requester).length >= limits.approvalsPendingPerPrincipal) {
      throw tooMany(`${limits.approvalsPendingPerPrincipal} questions of ${requester} wait for an answer`);
    }
    if (approvals.pending().length >= limits.approvalsPendingMax) {
      throw tooMany(`${limits.approvalsPendingMax} questions wait for an answer`);
    }
  }

  return {
    async resolve(request, verdict) {
      const { reason, policies } = verdict;
      const denied = (why: string): Outcome => ({
        ...{ outcome: "deny", reason: `${reason}: ${why}`, policies, approval: null, grant: null },
      });
      const granted = await byGrant(request);
      if (granted) return granted;
      if (!isAskable(request)) return denied("a person would have to say yes, and nobody is asked about this");
      const same = sameAct(request);
      const yes = findYes(same, request);
      if (yes) {
        await consume(yes.approval, request);
        const { id, answered_by } = yes.approval;
        return allowed(yes.verdict, answered_by ?? "", { approval: id, grant: null });
      }
      const offered = verdict.prompt?.scopes.filter((scope) => scope !== "session" || request.intent_id !== null);
      if (!offered?.length) return denied("a yes would hold for an intent, and this names none");
      const nobody = whyNobody(requesterOf(request), operators, secrets);
      if (nobody) return denied(nobody);
      const { id } = await ask(same, request, verdict);
      return { outcome: "ask", reason, policies, approval: id, grant: null };
    },
  };
}

function allowed({ reason, policies }: Verdict, by: string, made: Pick<Outcome, "approval" | "grant">): Outcome {
  return { outcome: "allow", reason: `${reason}; ${by} said yes`, policies, ...made };
}

function tooMany(detail: string): ProblemError {
  return new ProblemError("too-many-requests", { detail, retry_after_ms: 60_000 });
}
