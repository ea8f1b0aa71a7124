// Policy tests as files: a case a line, which says in a sentence what policies should answer. A person writes them beside the
// policies; the words stand in a fixed order:
//
//   allow  user:1000           submit_job               with timeout_ms=7d   by own-jobs
//   deny   user:1000           read_job   of user:1001
//   allow  operator user:0     read_job   of user:1001                       by operators-read
//   allow  user:1000           read_job   of agent:aurora for user:1000      by agents-person
//   allow  user:1000           read_job   of user:1001  labels share=all     # what follows a # is a remark
//   allow  agent:aurora@user:1000  use_secret  of user:1000                    # an agent that works for the user
import {
  actions,
  type DecisionContext,
  type Principal,
  PrincipalName,
  parseFact,
  principalName,
  principalOf,
} from "@aether/contracts";
import { judgeAct, resourceTypeOf } from "./decider.ts";
import type { Engine, Question, Verdict } from "./engine.ts";

export interface Case {
  line: number;
  text: string;
  question: Question;
  expected: Verdict["outcome"];
  /** Policies that must be among the deciding ones. */
  by: string[];
}

/** Why a case is not as it says; null where it is. */
export type CaseResult = { line: number; text: string; fault: string | null };

const outcomes = ["allow", "ask", "deny"] as const;
const roles = ["operator", "member", "agent"] as const;
const clauses = ["of", "for", "with", "labels", "by"] as const;

/** Holds the cases of a file against the policies. */
export function runCases(engine: Pick<Engine, "judge">, text: string): CaseResult[] {
  return text.split("\n").flatMap((whole, i) => {
    const words = whole.replace(/(^|\s)#.*$/, "").trim();
    if (words === "") return [];
    const line = { line: i + 1, text: words };
    try {
      return [{ ...line, fault: faultOf(engine, parseCase(words)) }];
    } catch (error) {
      return [{ ...line, fault: error instanceof Error ? error.message : String(error) }];
    }
  });
}

function faultOf(
  engine: Pick<Engine, "judge">,
  { question, expected, by }: Omit<Case, "line" | "text">,
): string | null {
  const { outcome, policies, reason } = judgeAct(engine, question);
  const is = `is ${outcome} by ${policies.join(", ") || "default"}: ${reason}`;
  if (outcome !== expected) return `should be ${expected}, ${is}`;
  const missing = by.filter((id) => !policies.includes(id));
  return missing.length === 0 ? null : `should be ${expected} by ${missing.join(", ")}, ${is}`;
}

/** The case that these words are; throws an error that says what is wrong with them. */
export function parseCase(text: string): Omit<Case, "line" | "text"> {
  const [outcome = "", ...rest] = text.split(/\s+/);
  const expected = outcomes.find((known) => known === outcome);
  if (!expected) throw new Error(`begins with ${outcomes.join(", ")}, not with '${outcome}'`);
  const role = [...roles, "nobody"].find((known) => known === rest[0]);
  const [name = "", word = "", ...more] = role ? rest.slice(1) : rest;
  const principal = toPrincipal(name, role);
  const action = actions.find((known) => known === word);
  if (!action) throw new Error(`there is no action '${word}'`);
  const said = toClauses(more);
  const owner = said.of[0] ?? principalName(principal);
  if (said.of.length > 1 || said.for.length > 1) throw new Error("'of' and 'for' name one each");
  const [person] = said.for;
  const resource = {
    type: resourceTypeOf(action),
    owner: owner === "nobody" ? null : owner,
    labels: pairs(said.labels),
    ...(person !== undefined && { person }),
  };
  return { question: { principal, action, resource, context: facts(said.with) }, expected, by: said.by };
}

function toPrincipal(name: string, role: string | undefined): Principal {
  const worker = /^worker:(\S+)$/.exec(name)?.[1];
  if (worker) return { type: "Worker", id: worker, roles: [] };
  const [own = "", person] = name.split("@");
  for (const one of person === undefined ? [own] : [own, person])
    if (!PrincipalName.safeParse(one).success) throw new Error(`'${one}' is no principal such as user:1000`);
  const principal = { ...principalOf(own), ...(person !== undefined && { owner: person }) };
  if (role === undefined) return principal;
  return { ...principal, roles: roles.filter((known) => known === role) };
}

function toClauses(words: readonly string[]): Record<(typeof clauses)[number], string[]> {
  const said: Record<(typeof clauses)[number], string[]> = { of: [], for: [], with: [], labels: [], by: [] };
  let clause: (typeof clauses)[number] | undefined;
  for (const word of words) {
    const next = clauses.find((known) => known === word);
    if (next) clause = next;
    else if (clause) said[clause].push(...(clause === "by" ? word.split(",").filter((id) => id !== "") : [word]));
    else throw new Error(`'${word}' stands where ${clauses.join(", ")} may stand`);
  }
  return said;
}

function pairs(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    words.map((word) => {
      const [, key, value] = /^([^=]+)=(.*)$/.exec(word) ?? [];
      if (key === undefined || value === undefined) throw new Error(`'${word}' is not name=value`);
      return [key, value];
    }),
  );
}

function facts(words: readonly string[]): DecisionContext {
  return Object.fromEntries(Object.entries(pairs(words)).map(([name, text]) => [name, parseFact(name, text)]));
}
