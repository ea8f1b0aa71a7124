// Who may do what: every operation that policy decides, by role, as the shipped policies answer. The page in docs/api is made from
// it, and a test walks it over real sockets; neither says anything that the engine does not.
import {
  type Action,
  type DecisionContext,
  type Operation,
  operations,
  type Principal,
  principalName,
  type ResourceType,
} from "@aether/contracts";
import { isVisible, judgeAct, mayReadAll } from "../services/policy/src/decider.ts";
import { openEngine, type Question } from "../services/policy/src/engine.ts";
import { readPolicyFiles } from "../services/policy/src/policy-files.ts";

export const callers = {
  operator: { type: "User", id: "0", roles: ["operator"] },
  member: { type: "User", id: "41001", roles: ["member"] },
  agent: { type: "Agent", id: "scout", roles: ["agent"], owner: "user:41001" },
  nobody: { type: "User", id: "65534", roles: [] },
} as const satisfies Record<
  string,
  Pick<Principal, "type" | "id" | "owner"> & { roles: readonly Principal["roles"][number][] }
>;
export type Role = keyof typeof callers;
export const roles = Object.keys(callers) as Role[];

/** `hidden`: as if it were not there. */
export interface Cell {
  outcome: "allow" | "ask" | "deny" | "hidden";
  /** Of a list: whether it holds everybody's. */
  everybody: boolean;
}

export interface Row {
  /** The operation, or what it is beside them. */
  name: string;
  /** `GET /v0/jobs/{id}`; null where there is none. */
  route: string | null;
  action: Action;
  type: ResourceType;
  /** What policy is told of the act. */
  context: DecisionContext;
  /** Of the caller's own, or of what is not about anybody's thing. */
  own: Record<Role, Cell>;
  /** Of somebody else's; null where the operation is never about one. */
  others: Record<Role, Cell> | null;
}

/** Somebody who has a thing that the caller has not. */
export const somebodyElse = "user:41002";

/** A job of the usual size, as policy sees it. */
const usualJob = {
  ...{ timeout_ms: 3_600_000, cpus_milli: 1000, memory_bytes: 256 * 2 ** 20, disk_bytes: 2 ** 30, pids: 256 },
  ...{ pool: "default", priority: 0, network: "none" },
};
const facts: Partial<Record<Action, DecisionContext>> = {
  submit_job: usualJob,
  start_job: { ...usualJob, attempt: 1 },
  set_human_secret: { clears: false },
};
/** What is decided too, though nobody asks for it by an operation of its own. */
const start = { route: null, action: "start_job", type: "Job", owner: "caller" } as const;
const within: Asked[] = [
  { ...start, name: "a job's start" },
  { ...start, name: "a job's start, over 2 CPUs", context: { cpus_milli: 4000 } },
  { ...start, name: "a job's start, over 1 hour", context: { timeout_ms: 7_200_000 } },
  { ...start, name: "a job's start, over 7 days", context: { timeout_ms: 604_800_001 } },
  { ...start, name: "a job that runs as an agent", action: "run_agent", type: "AgentRecord", owner: "record" },
];

const engine = openEngine(await readPolicyFiles(null));

/** The whole matrix, in the order of the operations. */
export function authorisationMatrix(): Row[] {
  const rows = operations.flatMap(({ name, http, access }) =>
    "action" in access ? [toRow({ name, route: routeOf(name, http), ...access, type: access.resource })] : [],
  );
  return [...rows, ...within.map(toRow)];
}

interface Asked extends Pick<Row, "name" | "route" | "action" | "type"> {
  owner: "record" | "caller";
  context?: DecisionContext;
}

function toRow({ name, route, action, type, owner, ...asked }: Asked): Row {
  const context = { ...facts[action], ...asked.context };
  const judge = (whose: "own" | "others") =>
    Object.fromEntries(
      roles.map((role) => {
        const principal = { ...callers[role], roles: [...callers[role].roles] };
        const resource = { type, ...(whose === "own" ? ownOf(type, principal) : othersOf(type)) };
        return [role, toCell({ principal, action, resource, context })];
      }),
    ) as Record<Role, Cell>;
  return { name, route, action, type, context, own: judge("own"), others: owner === "record" ? judge("others") : null };
}

function toCell(question: Question): Cell {
  const { outcome } = judgeAct(engine, question);
  const hidden = outcome === "deny" && !isVisible(engine, question);
  return { outcome: hidden ? "hidden" : outcome, everybody: outcome === "allow" && mayReadAll(engine, question) };
}

/** What an agent asks, and its own record, belong to the person whom it works for; of questions a label says who asked. */
const asked: ReadonlySet<ResourceType> = new Set(["Approval", "Grant"]);
const persons: ReadonlySet<ResourceType> = new Set([...asked, "AgentRecord"]);

function ownOf(type: ResourceType, principal: Question["principal"]): Pick<Question["resource"], "owner" | "labels"> {
  const name = principalName(principal);
  const owner = persons.has(type) ? (principal.owner ?? name) : name;
  return { owner, labels: asked.has(type) ? { requester: name } : {} };
}

function othersOf(type: ResourceType): Pick<Question["resource"], "owner" | "labels"> {
  return { owner: somebodyElse, labels: asked.has(type) ? { requester: somebodyElse } : {} };
}

function routeOf(name: string, http: Operation["http"]): string | null {
  if (http) return `${http.method} /v0${http.path}`;
  return name === "policy.metrics" ? "GET /v0/metrics" : null; // the gateway's own route, which policy is asked about first
}

/** docs/api/authorisation.md. */
export function renderAuthorisation(): string {
  const rows = authorisationMatrix().map((row) => {
    const what = row.route === null ? row.name : `\`${row.route}\``;
    return `| ${what} | \`${row.action}\` | ${roles.map((role) => tell(row, role)).join(" | ")} |`;
  });
  return `${[
    "# Authorisation",
    "<!-- Generated by `npm run docs` from libs/contracts and the shipped policies; edit there. -->",
    "",
    "What the shipped policies answer, operation by role; the owner's own may forbid more, and permit more",
    "([policy.md](../policy.md)). Where two answers stand in a cell, the first is about the caller's own, the second about",
    `somebody else's. **allow**: done. **allow all**: done, and a list holds everybody's things. **ask**: 403 with an \`approval_id\`:`,
    "done once a person says yes. **deny**: 403. **hidden**: 404, as if it were not there. Nobody: a caller without a role.",
    "A test tries every cell over real sockets.",
    "",
    `| operation | action | ${roles.join(" | ")} |`,
    `|---|---|${roles.map(() => "---").join("|")}|`,
    ...rows,
  ].join("\n")}\n`;
}

function tell({ own, others }: Row, role: Role): string {
  const words = ({ outcome, everybody }: Cell) => (everybody ? "allow all" : outcome);
  return others ? `${words(own[role])} / ${words(others[role])}` : words(own[role]);
}
