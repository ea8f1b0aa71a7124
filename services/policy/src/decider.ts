// One decision: the judgement of the policies, what people have said where they are to be asked, then its record. An allowed act is
// answered only when its record is stored and synced; what cannot be recorded is refused, whatever the policies say.
import {
  type Action,
  actions,
  type DecideReply,
  type DecideRequest,
  operations,
  ProblemError,
  principalName,
  principalOf,
  type ResourceType,
  reservedActions,
  services,
} from "@aether/contracts";
import type { Asking, Outcome } from "./asking.ts";
import type { AuditLog } from "./audit-log.ts";
import { covers } from "./capabilities.ts";
import type { Engine, Question, Verdict } from "./engine.ts";
import { type Tally, toDecision } from "./tally.ts";
import type { Bearer, Tokens } from "./tokens.ts";

type Ahead = NonNullable<DecideRequest["ahead"]>;

export interface Decider {
  /** Records what is denied though policies have nothing against it. */
  refuse(request: DecideRequest, via: string, reason: string): Promise<void>;
  /** Decides and records; `via` is the bus caller that asks. */
  decide(request: DecideRequest, via: string): Promise<DecideReply>;
  /** What the answer would be, to the bearer of a token where there is one; nothing is recorded. */
  judge(question: Question, bearer?: Bearer | null): Verdict & { policyVersion: string };
}

type Judges = Pick<Engine, "judge">;

/** What shows many things: the action and the type by which reading one of them is judged. */
const lists: Partial<Record<Action, { action: Action; type: ResourceType }>> = {
  list_jobs: { action: "read_job", type: "Job" },
  list_artifacts: { action: "read_artifact", type: "Artifact" },
  memory_list: { action: "memory_read", type: "MemoryEntry" },
  memory_search: { action: "memory_read", type: "MemoryEntry" },
  read_events: { action: "read_events", type: "Events" },
  list_agents: { action: "read_agent", type: "AgentRecord" },
  list_approvals: { action: "read_approval", type: "Approval" },
  read_quota: { action: "read_quota", type: "Quota" },
  list_tokens: { action: "read_token", type: "Token" },
};
/** Nobody's: what a principal may read of this, they may read of everybody. */
const somebodyElse = "somebody:else";

/**
 * Actions that each service may ask about: those of its own operations, and for jobs what it does for the owner of one: its
 * start, the reading of its inputs, the use of its secrets and of the agent that it runs as.
 */
const askable: Readonly<Record<string, ReadonlySet<Action>>> = {
  jobs: new Set([...actionsOf(services.jobs), "start_job", "read_artifact", "run_agent", "use_secret"]),
  artifacts: new Set(actionsOf(services.artifacts)),
  policy: new Set(actionsOf(services.policy)),
  memory: new Set(actionsOf(services.memory)),
  events: new Set(actionsOf(services.events)),
  secrets: new Set([...actionsOf(services.secrets), "use_secret"]),
};
/** What reads a single thing of a type. */
const reads: Partial<Record<ResourceType, Action>> = {
  Job: "read_job",
  Artifact: "read_artifact",
  MemoryEntry: "memory_read",
  AgentRecord: "read_agent",
  Approval: "read_approval",
  Grant: "read_approval",
  Quota: "read_quota",
  Token: "read_token",
  Secret: "use_secret",
};
/** Actions that make what they are about: there is nothing yet to be hidden. */
const makers: ReadonlySet<Action> = new Set([
  ...(["submit_job", "put_artifact", "memory_write", "add_agent", "create_token", "put_secret"] as const),
]);
/** Actions that are asked about before they are due, by who only queues them. */
const foreseen: ReadonlySet<Action> = new Set(["start_job"]);
/** Actions of status reads only, which may be counted instead of written one by one. */
const countable = new Set(
  actions.filter((action) => {
    const about = operations.filter(({ access }) => "action" in access && access.action === action);
    return about.length > 0 && about.every(({ access }) => "record" in access && access.record === "summary");
  }),
);

export function createDecider(parts: {
  engine: Engine;
  asking: Asking;
  tokens: Pick<Tokens, "verify">;
  tally: Pick<Tally, "countRead" | "recordDenial">;
  log: Pick<AuditLog, "append">;
}): Decider {
  const { engine, asking, tokens, tally, log } = parts;
  const judge: Decider["judge"] = (question, bearer = null) => ({
    ...judgeAct(narrow(engine, bearer), question),
    policyVersion: engine.version,
  });
  /** What it comes to; about what he may not see nobody asks a person. */
  const settle = async (request: DecideRequest, verdict: Verdict): Promise<Outcome> => {
    const { outcome, reason, policies } = verdict;
    if (outcome === "ask" && isVisible(engine, request)) return asking.resolve(request, verdict);
    return { outcome: outcome === "ask" ? "deny" : outcome, reason, policies, approval: null, grant: null };
  };
  const refuse: Decider["refuse"] = async (request, via, reason) => {
    const decision = { outcome: "deny", reason, policy_version: engine.version } as const;
    await tally.recordDenial({ request, via, decision: { ...decision, policies: [], approval: null, grant: null } });
  };
  return {
    judge,
    refuse,
    async decide(request, via) {
      if (!askable[via]?.has(request.action)) {
        throw new ProblemError("invalid-request", { detail: `${via} may not ask about ${request.action}` });
      }
      const looksAhead = request.ask?.mode === "ask";
      if (looksAhead && !foreseen.has(request.action)) {
        throw new ProblemError("invalid-request", { detail: `${request.action} is decided when it is done` });
      }
      const { ahead } = request;
      if (ahead && !foreseen.has(ahead.action)) {
        throw new ProblemError("invalid-request", { detail: `${ahead.action} is not foreseen` });
      }
      const bearer = await tokens.verify(request.token, request.principal).catch(async (error: unknown) => {
        const why = error instanceof ProblemError ? error.message : "it could not be verified";
        await refuse(request, via, `the capability token does not count: ${why}`);
        throw error;
      });
      const { policyVersion, ...verdict } = judge(request, bearer);
      const settled = await settle(request, verdict);
      const { outcome, reason, policies, approval } = settled;
      const decision = { ...settled, policy_version: policyVersion, ...(bearer && { token: bearer.id }) };
      const decided = { request, via, decision };
      const answer = (decisionId: string | null): DecideReply => ({
        ...{ outcome, decision_id: decisionId, reason, policies, policy_version: policyVersion, approval_id: approval },
        visible: outcome === "allow" || isVisible(engine, request),
        ...(ahead && outcome === "allow" && { ahead: isAllowedLater(engine, request, ahead) }),
        scope: mayReadAll(narrow(engine, bearer), request) ? "all" : "own",
      });
      if (outcome !== "allow") return answer(await tally.recordDenial(decided));
      if (looksAhead) return answer(null); // nothing has been done that a record would be of
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

/** What policies say about an act, or about a list of what may be read. */
export function judgeAct(engine: Judges, question: Question): Verdict {
  return lists[question.action] ? judgeList(engine, question) : engine.judge(question);
}

/** Policies as the bearer of a token meets them: what it does not cover is denied, whatever they say. */
function narrow(engine: Judges, bearer: Bearer | null): Judges {
  if (!bearer) return engine;
  return {
    judge(question) {
      const { action, resource } = question;
      const verdict = engine.judge(question);
      const covered = covers(bearer.capabilities, { action, id: resource.id ?? "*", owner: resource.owner });
      if (verdict.outcome === "deny" || covered) return verdict;
      return { outcome: "deny", reason: `the token ${bearer.id} does not allow ${action} here`, policies: [] };
    },
  };
}

/** A list is of what may be read: of everybody's, else of one's own, else there is none. */
function judgeList(engine: Judges, question: Question): Verdict {
  const verdict = engine.judge(question);
  if (verdict.outcome !== "allow" || mayReadAll(engine, question)) return verdict;
  const own = judgeRead(engine, question, principalName(question.principal));
  return own?.outcome === "allow" ? verdict : (own ?? verdict);
}

/** Whether a collection is of everybody's things. */
export function mayReadAll(engine: Judges, question: Question): boolean {
  return judgeRead(engine, question, somebodyElse)?.outcome === "allow";
}

/** Whether policies allow what is to come as it is, in the name of the owner and with the rights that he has while he is away. */
function isAllowedLater(engine: Engine, { principal, resource }: DecideRequest, { labels, ...act }: Ahead): boolean {
  const later = { ...principal, ...principalOf(principalName(principal)) };
  return engine.judge({ principal: later, resource: { ...resource, labels }, ...act }).outcome === "allow";
}

/** Whether a caller who may not do this may know that the thing is there. */
export function isVisible(engine: Judges, question: Question): boolean {
  const action = makers.has(question.action) ? undefined : reads[question.resource.type];
  return !action || engine.judge({ ...question, action, context: {} }).outcome === "allow";
}

/** Whether what a collection holds of this owner may be read; null where the question is not about a collection. */
function judgeRead(engine: Judges, { principal, action }: Question, owner: string): Verdict | null {
  const read = lists[action];
  if (!read) return null;
  const { type } = read;
  return engine.judge({ principal, action: read.action, resource: { type, owner, labels: {} }, context: {} });
}

function actionsOf(served: (typeof services)[keyof typeof services]): Action[] {
  return served.flatMap(({ access }) => ("action" in access ? [access.action] : []));
}

/** Of actions that no operation is: what they are about. */
const others: Partial<Record<Action, ResourceType>> = {
  start_job: "Job",
  run_agent: "AgentRecord",
  use_secret: "Secret",
};

/** The type of resource that an action is about. */
export function resourceTypeOf(action: Action): ResourceType {
  for (const { access } of operations) if ("action" in access && access.action === action) return access.resource;
  return others[action] ?? "Job";
}
