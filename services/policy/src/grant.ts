// What a person has allowed for longer than once: the rule of a grant, which acts it is about, and grants found by their act. How many
// grants there are makes no difference to a lookup, which sees only those of one principal, action and type of resource.
import { type DecideRequest, type GrantRule, limits, principalName } from "@aether/contracts";
import { wordsOf } from "./prompt-text.ts";

/** How long a grant lasts. */
export const lastsMs = { session: limits.grantSessionMs, always: limits.grantAlwaysMs } as const;

type Asked = Pick<DecideRequest, "principal" | "action" | "resource" | "context" | "intent_id">;

/** What a yes for longer would allow from then on: all that is at most what is asked now. */
export function ruleOf(request: Asked, scope: "session" | "always"): GrantRule {
  const { attempt: _attempt, ...facts } = request.context; // a retry is not more than the first attempt
  const rule = {
    principal: principalName(request.principal),
    action: request.action,
    resource: { type: request.resource.type, owner: request.resource.owner },
    facts,
    intent_id: scope === "session" ? request.intent_id : null,
  };
  return { ...rule, words: wordsOf(rule, lastsMs[scope]) };
}

/** Whether a rule is about this act: nothing of it may go beyond what was allowed, and nothing may be new. */
export function covers(rule: GrantRule, request: Asked): boolean {
  const { attempt: _attempt, ...facts } = request.context;
  return (
    rule.principal === principalName(request.principal) &&
    rule.action === request.action &&
    rule.resource.type === request.resource.type &&
    rule.resource.owner === request.resource.owner &&
    (rule.intent_id === null || rule.intent_id === request.intent_id) &&
    Object.keys(rule.facts).length === Object.keys(facts).length &&
    Object.entries(facts).every(([name, fact]) => isWithin(fact, rule.facts[name]))
  );
}

function isWithin(fact: Fact, allowed: Fact | undefined): boolean {
  if (typeof fact === "number") return typeof allowed === "number" && fact <= allowed;
  if (Array.isArray(fact)) return Array.isArray(allowed) && fact.every((one) => allowed.includes(one));
  return fact === allowed;
}

type Fact = GrantRule["facts"][string];

/** Ids of grants by what they are about. */
export interface GrantIndex {
  add(id: string, rule: GrantRule): void;
  remove(id: string, rule: GrantRule): void;
  /** Those of the principal, action and type. */
  about(request: Asked): readonly string[];
  /** How many there are of this principal, action and type. */
  like(rule: GrantRule): number;
}

export function createGrantIndex(): GrantIndex {
  const byKind = new Map<string, Set<string>>();
  return {
    add(id, rule) {
      const kind = kindOf(rule);
      byKind.set(kind, (byKind.get(kind) ?? new Set()).add(id));
    },
    remove(id, rule) {
      const kind = kindOf(rule);
      byKind.get(kind)?.delete(id);
      if (byKind.get(kind)?.size === 0) byKind.delete(kind);
    },
    like: (rule) => byKind.get(kindOf(rule))?.size ?? 0,
    about: ({ principal, action, resource }) => [
      ...(byKind.get(kindOf({ principal: principalName(principal), action, resource })) ?? []),
    ],
  };
}

function kindOf({
  principal,
  action,
  resource,
}: {
  principal: string;
  action: string;
  resource: { type: string };
}): string {
  return `${principal}\n${action}\n${resource.type}`;
}
