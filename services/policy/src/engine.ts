// Cedar behind one call. A set of policies is parsed, validated strictly and only then swapped in; a set that fails leaves the
// old one answering. Deny by default, forbid wins, and an evaluation error is a denial: Cedar itself would skip a forbid that
// fails. Judgements are kept (they depend on the question alone); nothing else is.
//
// "Ask" is a second pass: what is denied as it is, but would be allowed with a person's yes in the context. It is made once for each
// way to say yes, so the policies themselves say which answers may be offered. @ask and @timeout are words for the prompt, and
// mean nothing to a judgement.
import type { Action, DecisionContext, Principal, Resource } from "@aether/contracts";
import { limits, principalName } from "@aether/contracts";
import * as cedar from "@cedar-policy/cedar-wasm/nodejs";
import type { PolicyFiles } from "./policy-files.ts";
import { checkPolicies, type PolicyNotes } from "./policy-set.ts";
import { createSlices, type PolicySlices } from "./policy-slices.ts";

export interface Question {
  principal: Pick<Principal, "type" | "id" | "roles" | "owner">;
  action: Action;
  resource: Pick<Resource, "type" | "owner" | "labels" | "person"> & Partial<Pick<Resource, "id">>;
  context: DecisionContext;
  /** A person's yes: by whom, and for how long it holds. */
  approval?: Yes;
}

/** How far a yes reaches: this act, this intent, whatever is like it. */
const scopes = ["once", "session", "always"] as const;
export type Scope = (typeof scopes)[number];

export interface Yes {
  by: string;
  scope: Scope;
}

export interface Verdict {
  outcome: "allow" | "ask" | "deny";
  reason: string;
  /** Ids of the deciding policies. */
  policies: string[];
  /** Of `ask`: what a person would be asked. */
  prompt?: Prompt;
}

export interface Prompt {
  /** The ways to say yes that the policies accept. */
  scopes: Scope[];
  /** The question, in a sentence. */
  ask: string;
  /** How long the question may wait. */
  timeoutMs: number;
  why: { policy: string; reason: string }[];
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
  /** Name of the parsed schema inside Cedar. */
  slot: string;
  slices: PolicySlices;
  version: string;
  notes: ReadonlyMap<string, PolicyNotes>;
  warnings: string[];
}

/** Types whose labels policies may look at. */
const tagged: ReadonlySet<string> = new Set(["Job", "Artifact", "MemoryEntry", "Approval", "Grant"]);
const keptJudgements = 10_000;
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

function keyOf({ principal, action, resource, context, approval }: Question): string {
  const sorted = (record: object) => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
  const { type, id, roles, owner = null } = principal;
  return JSON.stringify([
    type,
    id,
    roles,
    owner,
    action,
    resource.type,
    resource.owner,
    resource.person,
    sorted(resource.labels),
    sorted(context),
    approval && [approval.by, approval.scope],
  ]);
}

function loadSet(slot: string, files: PolicyFiles): LoadedSet {
  const set = checkPolicies(files);
  const answer = cedar.preparseSchema(slot, files.schema);
  if (answer.type === "failure") throw new Error(messages(answer.errors));
  return { slot, slices: createSlices(slot, set), version: files.version, notes: set.notes, warnings: set.warnings };
}

const messages = (errors: readonly cedar.DetailedError[]) => errors.map(({ message }) => message).join("; ");

function judge(set: LoadedSet, question: Question): Verdict {
  const asIs = authorize(set, question, question.approval);
  if ("error" in asIs) return unjudged(asIs.error);
  if (asIs.allowed || question.approval || !set.slices.looksAtYes(question)) return settled(set, question, asIs);
  const accepted: Scope[] = [];
  let permitting: string[] = [];
  for (const scope of scopes) {
    const approved = authorize(set, question, { by: "", scope });
    if ("error" in approved) return unjudged(approved.error);
    if (!approved.allowed) continue;
    accepted.push(scope);
    if (permitting.length === 0) permitting = approved.policies;
  }
  if (accepted.length === 0) return settled(set, question, asIs);
  const policies = [...new Set([...asIs.policies, ...permitting])];
  return { outcome: "ask", reason: reasonOf(set, policies), policies, prompt: toPrompt(set, policies, accepted) };
}

function unjudged(error: string): Verdict {
  return { outcome: "deny", reason: `policy cannot judge this: ${error}`, policies: [] };
}

function settled(set: LoadedSet, { action }: Question, { allowed, policies }: Judged): Verdict {
  const reason = policies.length > 0 ? reasonOf(set, policies) : `no policy permits ${action}`;
  return { outcome: allowed ? "allow" : "deny", reason, policies };
}

/** What forbids it without a yes speaks first. */
function toPrompt({ notes }: LoadedSet, policies: readonly string[], accepted: Scope[]): Prompt {
  const known = policies.flatMap((id) => notes.get(id) ?? []);
  const timeouts = known.flatMap(({ timeoutMs }) => timeoutMs ?? []);
  return {
    scopes: accepted,
    ask: known.find(({ ask }) => ask !== null)?.ask ?? "May this be done?",
    timeoutMs: Math.min(limits.approvalTimeoutMs, ...timeouts),
    why: known.map(({ id, reason }) => ({ policy: id, reason })),
  };
}

function reasonOf({ notes }: LoadedSet, policies: readonly string[]): string {
  return policies.map((id) => notes.get(id)?.reason ?? id).join("; ");
}

interface Judged {
  allowed: boolean;
  policies: string[];
}

function authorize(
  set: LoadedSet,
  { principal, action, resource, context }: Question,
  approval: Yes | undefined,
): Judged | { error: string } {
  const who = { type: `Aether::${principal.type}`, id: principal.id };
  const what = { type: `Aether::${resource.type}`, id: "*" };
  const answer = cedar.statefulIsAuthorized({
    principal: who,
    action: { type: "Aether::Action", id: action },
    resource: what,
    context: approval ? { ...context, approval: { by: approval.by, scope: approval.scope } } : context,
    preparsedPolicySetId: set.slices.nameOf({ principal, action, resource }),
    preparsedSchemaName: set.slot,
    validateRequest: true,
    entities: [
      {
        uid: who,
        attrs: { name: principalName(principal), ...(principal.owner !== undefined && { owner: principal.owner }) },
        parents: principal.roles.map((id) => ({ type: "Aether::Role", id })),
      },
      {
        uid: what,
        attrs: {
          ...(resource.owner !== null && { owner: resource.owner }),
          ...(resource.person !== undefined && { person: resource.person }),
        },
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
