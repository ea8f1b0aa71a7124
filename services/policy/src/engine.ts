// Cedar behind one call. A set of policies is parsed, validated strictly and only then swapped in; a set that fails leaves the
// old one answering. Deny by default, forbid wins, and an evaluation error is a denial: Cedar itself would skip a forbid that
// fails. Judgements are kept (they depend on the question alone); nothing else is.
//
// "Ask" is a second pass: what is denied as it is, but would be allowed with a person's yes in the context.
import type { Action, DecisionContext, Principal, Resource } from "@aether/contracts";
import { principalName, resourceTypes } from "@aether/contracts";
import * as cedar from "@cedar-policy/cedar-wasm/nodejs";
import type { PolicyFiles } from "./policy-files.ts";

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
  /** Swaps a set in; throws, and keeps the old one, when it is not valid. Answers the validator's warnings. */
  load(files: PolicyFiles): string[];
  judge(question: Question): Verdict;
}

interface LoadedSet {
  /** Name of the parsed set and schema inside Cedar. */
  slot: string;
  version: string;
  reasons: ReadonlyMap<string, string>;
}

/** Types whose labels policies may look at. */
const tagged: ReadonlySet<string> = new Set(["Job", "Artifact", "MemoryEntry"]);
const singleResource = new RegExp(`"type":"Aether::(${resourceTypes.join("|")})"`);
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
      return loaded.set.version;
    },
    load(next) {
      loaded = loadSet(loaded.set.slot === names[0] ? names[1] : names[0], next);
      kept.clear();
      return loaded.warnings;
    },
    judge(question) {
      const key = keyOf(question);
      const known = kept.get(key);
      if (known) return known;
      const verdict = judge(loaded.set, question);
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

function loadSet(slot: string, files: PolicyFiles): { set: LoadedSet; warnings: string[] } {
  const policies: Record<string, string> = {};
  const reasons = new Map<string, string>();
  for (const [path, text] of files.texts) {
    const parts = cedar.policySetTextToParts(text);
    if (parts.type === "failure") throw new Error(`${path}: ${messages(parts.errors)}`);
    if (parts.policy_templates.length > 0) throw new Error(`${path}: templates are not used`);
    for (const policy of parts.policies) {
      const { id, reason } = describe(path, policy);
      if (id in policies) throw new Error(`${path}: there are two policies with @id("${id}")`);
      policies[id] = policy;
      reasons.set(id, reason);
    }
  }
  const warnings = validate(files.schema, policies);
  for (const answer of [
    cedar.preparseSchema(slot, files.schema),
    cedar.preparsePolicySet(slot, { staticPolicies: policies }),
  ]) {
    if (answer.type === "failure") throw new Error(messages(answer.errors));
  }
  return { set: { slot, version: files.version, reasons }, warnings };
}

function describe(path: string, policy: string): { id: string; reason: string } {
  const parsed = cedar.policyToJson(policy);
  if (parsed.type === "failure") throw new Error(`${path}: ${messages(parsed.errors)}`);
  const { id, reason } = parsed.json.annotations ?? {};
  if (!id || !/^[a-z0-9][a-z0-9_.-]{0,63}$/.test(id))
    throw new Error(`${path}: every policy needs an @id("lower-case-name")`);
  if (!reason) throw new Error(`${path}: policy ${id} needs a @reason("…")`);
  if (singleResource.test(JSON.stringify(parsed.json))) {
    throw new Error(`${path}: policy ${id} names a single resource; policies speak of owner, labels and context`);
  }
  return { id, reason };
}

function validate(schema: string, policies: Record<string, string>): string[] {
  const answer = cedar.validate({
    validationSettings: { mode: "strict" },
    schema,
    policies: { staticPolicies: policies },
  });
  if (answer.type === "failure") throw new Error(messages(answer.errors));
  if (answer.validationErrors.length > 0) throw new Error(answer.validationErrors.map(named).join("; "));
  return answer.validationWarnings.map(named);
}

const named = ({ policyId, error }: cedar.ValidationError) => `policy ${policyId}: ${error.message}`;
const messages = (errors: readonly cedar.DetailedError[]) => errors.map(({ message }) => message).join("; ");

function judge(set: LoadedSet, question: Question): Verdict {
  const reasonOf = (ids: readonly string[]) => ids.map((id) => set.reasons.get(id) ?? id).join("; ");
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
