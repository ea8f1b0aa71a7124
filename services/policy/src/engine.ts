// Cedar behind one call. A set of policies is parsed, validated strictly and only then swapped in; a set that fails leaves the
// old one answering. Deny by default, forbid wins, and an evaluation error is a denial: Cedar itself would skip a forbid that
// fails. Judgements are kept (they depend on the question alone); nothing else is.
//
// "Ask" is a second pass: what is denied as it is, but would be allowed with a person's yes in the context.
import type { Action, DecisionContext, Principal, Resource } from "@aether/contracts";
import { principalName } from "@aether/contracts";
import * as cedar from "@cedar-policy/cedar-wasm/nodejs";
import type { PolicyFiles } from "./policy-files.ts";
import { checkPolicies, type PolicyNotes } from "./policy-set.ts";

export interface Question {
  principal: Pick<Principal, "type" | "id" | "roles">;
  action: Action;
  resource: Pick<Resource, "type" | "owner" | "labels"> & Partial<Pick<Resource, "id">>;
  context: DecisionContext;
}

export interface Verdict {
  outcome: "allow" | "ask" | "deny";
  reason: string;
  /** Ids of the deciding policies. */
  policies: string[];
}

export interface Engine {
  /** `sha256:` of the set that answers. */
  readonly version: string;
  /** Its policies, in the order of their files. */
  readonly policies: readonly PolicyNotes[];
  /** What the validator thinks is a mistake in them, and lets pass. */
  readonly warnings: readonly string[];
  /** Swaps a set in; throws, and keeps the old one, when it is not valid. Answers the validator's warnings. */
  load(files: PolicyFiles): string[];
  judge(question: Question): Verdict;
}

interface LoadedSet {
  /** Name of the parsed set and schema inside Cedar. */
  slot: string;
  version: string;
  notes: ReadonlyMap<string, PolicyNotes>;
  warnings: string[];
}

/** Types whose labels policies may look at. */
const tagged: ReadonlySet<string> = new Set(["Job", "Artifact", "MemoryEntry"]);
const keptJudgements = 10_000;
/** What a person's yes looks like before anybody was asked. */
const hypotheticalApproval = { by: "", scope: "once" };
let slots = 0;

/** Opens an engine on a first set of policies. */
export function openEngine(files: PolicyFiles): Engine {
  const names = [`aether-${++slots}a`, `aether-${slots}b`] as const;
  let loaded = loadSet(names[0], files);
  const kept = new Map<string, Verdict>();
  return {
    get version() {
      return loaded.version;
    },
    get policies() {
      return [...loaded.notes.values()];
    },
    get warnings() {
      return loaded.warnings;
    },
    load(next) {
      loaded = loadSet(loaded.slot === names[0] ? names[1] : names[0], next);
      kept.clear();
      return loaded.warnings;
    },
    judge(question) {
      const key = keyOf(question);
      const known = kept.get(key);
      if (known) return known;
      const verdict = judge(loaded, question);
      const [oldest] = kept.keys();
      if (kept.size >= keptJudgements && oldest !== undefined) kept.delete(oldest);
      kept.set(key, verdict);
      return verdict;
    },
  };
}

function keyOf({ principal, action, resource, context }: Question): string {
  const sorted = (record: object) => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
  const { type, id, roles } = principal;
  return JSON.stringify([
    type,
    id,
    roles,
    action,
    resource.type,
    resource.owner,
    sorted(resource.labels),
    sorted(context),
  ]);
}

function loadSet(slot: string, files: PolicyFiles): LoadedSet {
  const set = checkPolicies(files);
  for (const answer of [
    cedar.preparseSchema(slot, files.schema),
    cedar.preparsePolicySet(slot, { staticPolicies: { ...set.policies } }),
  ]) {
    if (answer.type === "failure") throw new Error(messages(answer.errors));
  }
  return { slot, version: files.version, notes: set.notes, warnings: set.warnings };
}

const messages = (errors: readonly cedar.DetailedError[]) => errors.map(({ message }) => message).join("; ");

function judge(set: LoadedSet, question: Question): Verdict {
  const reasonOf = (ids: readonly string[]) => ids.map((id) => set.notes.get(id)?.reason ?? id).join("; ");
  const asIs = authorize(set, question, question.context);
  if ("error" in asIs) return { outcome: "deny", reason: `policy cannot judge this: ${asIs.error}`, policies: [] };
  if (asIs.allowed) return { outcome: "allow", reason: reasonOf(asIs.policies), policies: asIs.policies };
  const approved = authorize(set, question, { ...question.context, approval: hypotheticalApproval });
  if ("allowed" in approved && approved.allowed) {
    return { outcome: "ask", reason: reasonOf(approved.policies), policies: approved.policies };
  }
  const reason = asIs.policies.length > 0 ? reasonOf(asIs.policies) : `no policy permits ${question.action}`;
  return { outcome: "deny", reason, policies: asIs.policies };
}

function authorize(
  set: LoadedSet,
  { principal, action, resource }: Question,
  context: cedar.Context,
): { allowed: boolean; policies: string[] } | { error: string } {
  const who = { type: `Aether::${principal.type}`, id: principal.id };
  const what = { type: `Aether::${resource.type}`, id: "*" };
  const answer = cedar.statefulIsAuthorized({
    principal: who,
    action: { type: "Aether::Action", id: action },
    resource: what,
    context,
    preparsedPolicySetId: set.slot,
    preparsedSchemaName: set.slot,
    validateRequest: true,
    entities: [
      {
        uid: who,
        attrs: { name: principalName(principal) },
        parents: principal.roles.map((id) => ({ type: "Aether::Role", id })),
      },
      {
        uid: what,
        attrs: resource.owner === null ? {} : { owner: resource.owner },
        parents: [],
        ...(tagged.has(resource.type) ? { tags: resource.labels } : {}),
      },
    ],
  });
  if (answer.type === "failure") return { error: messages(answer.errors) };
  const { decision, diagnostics } = answer.response;
  const [failed] = diagnostics.errors;
  if (failed) return { error: `policy ${failed.policyId}: ${failed.error.message}` };
  return { allowed: decision === "allow", policies: [...diagnostics.reason].sort() };
}
