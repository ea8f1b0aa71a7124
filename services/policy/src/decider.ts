// One decision: the judgement of the policies, then its record. An allowed act is answered only when its record is stored and
// synced; what cannot be recorded is refused, whatever the policies say.
import {
  type Action,
  actions,
  type DecideReply,
  type DecideRequest,
  operations,
  ProblemError,
  principalName,
  type ResourceType,
  reservedActions,
  services,
} from "@aether/contracts";
import type { AuditLog } from "./audit-log.ts";
import type { Engine, Question, Verdict } from "./engine.ts";
import { type Tally, toDecision } from "./tally.ts";

export interface Decider {
  /** Decides and records; `via` is the bus caller that asks. */
  decide(request: DecideRequest, via: string): Promise<DecideReply>;
  /** What the answer would be; nothing is recorded. */
  judge(question: Question): Verdict & { outcome: DecideReply["outcome"]; policyVersion: string };
}

const noneYet = "a person would have to approve it, and nobody can be asked yet";
/** The action that shows a thing of this type: who may not read it must not learn that it is there. */
const reads: ReadonlyMap<ResourceType, Action> = new Map([
  ["Job", "read_job"],
  ["Artifact", "read_artifact"],
]);
/** What each list is a list of. */
const lists: ReadonlyMap<Action, ResourceType> = new Map([
  ["list_jobs", "Job"],
  ["list_artifacts", "Artifact"],
]);
/** What makes a thing is refused openly: there is nothing yet that could be hidden. */
const makes: ReadonlySet<Action> = new Set(["submit_job", "put_artifact"]);
/** Nobody's: what a principal may read of this, they may read of everybody. */
const somebodyElse = "somebody:else";

/** Actions that each service may ask about: those of its own operations, and, for jobs, their start and the reading of their inputs. */
const askable: Readonly<Record<string, ReadonlySet<Action>>> = {
  jobs: new Set([...actionsOf(services.jobs), "start_job", "read_artifact"]),
  artifacts: new Set(actionsOf(services.artifacts)),
  policy: new Set(actionsOf(services.policy)),
};
/** Actions of status reads only, which may be counted instead of written one by one. */
const countable = new Set(
  actions.filter((action) => {
    const about = operations.filter(({ access }) => "action" in access && access.action === action);
    return about.length > 0 && about.every(({ access }) => "record" in access && access.record === "summary");
  }),
);

export function createDecider(parts: {
  engine: Engine;
  tally: Pick<Tally, "countRead" | "recordDenial">;
  log: Pick<AuditLog, "append">;
}): Decider {
  const { engine, tally, log } = parts;
  const judge: Decider["judge"] = (question) => {
    const verdict = listOf(question) ? judgeList(engine, question) : engine.judge(question);
    const policyVersion = engine.version;
    if (verdict.outcome !== "ask") return { ...verdict, outcome: verdict.outcome, policyVersion };
    return { ...verdict, outcome: "deny", reason: `${verdict.reason}: ${noneYet}`, policyVersion };
  };
  return {
    judge,
    async decide(request, via) {
      if (!askable[via]?.has(request.action)) {
        throw new ProblemError("invalid-request", { detail: `${via} may not ask about ${request.action}` });
      }
      const { outcome, reason, policies, policyVersion } = judge(request);
      const decided = { request, via, decision: { outcome, reason, policies, policy_version: policyVersion } };
      const answer = (decisionId: string | null): DecideReply => ({
        ...{ outcome, decision_id: decisionId, reason, policies, policy_version: policyVersion },
        visible: outcome === "allow" || isVisible(engine, request),
        scope: mayReadAll(engine, request) ? "all" : "own",
      });
      if (outcome === "deny") return answer(await tally.recordDenial(decided));
      if (request.record === "summary" && countable.has(request.action)) {
        await tally.countRead(decided);
        return answer(null);
      }
      const draft = toDecision(decided);
      await log.append([draft], { reserve: reservedActions.includes(request.action) });
      return answer(draft.id);
    },
  };
}

/** A list is of what may be read: of everybody's, else of one's own, else there is none. */
function judgeList(engine: Engine, question: Question): Verdict {
  const verdict = engine.judge(question);
  const type = listOf(question);
  if (!type || verdict.outcome !== "allow" || mayReadAll(engine, question)) return verdict;
  const own = engine.judge(readOf(question, type, principalName(question.principal)));
  return own.outcome === "allow" ? verdict : own;
}

function mayReadAll(engine: Engine, question: Question): boolean {
  const type = listOf(question);
  return type !== undefined && engine.judge(readOf(question, type, somebodyElse)).outcome === "allow";
}

/** Whether a caller who may not do this may know that the thing is there. */
function isVisible(engine: Engine, question: Question): boolean {
  const read = reads.get(question.resource.type);
  if (!read || makes.has(question.action)) return true;
  return engine.judge({ ...question, action: read, context: {} }).outcome === "allow";
}

function listOf({ action }: Question): ResourceType | undefined {
  return lists.get(action);
}

function readOf({ principal }: Question, type: ResourceType, owner: string): Question {
  return { principal, action: reads.get(type) ?? "read_job", resource: { type, owner, labels: {} }, context: {} };
}

function actionsOf(served: (typeof services)[keyof typeof services]): Action[] {
  return served.flatMap(({ access }) => ("action" in access ? [access.action] : []));
}
