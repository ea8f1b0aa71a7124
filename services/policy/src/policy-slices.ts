// Of a set of policies, those that have a part in a question. What a policy's scope does not meet decides nothing, so leaving it out
// changes no answer; and then a question costs what its own policies cost, however many there are for others.
//
// A slice is parsed when it is first needed and kept under a name inside Cedar, which cannot forget: the names are used again.
import type { Action, Principal } from "@aether/contracts";
import { actions } from "@aether/contracts";
import * as cedar from "@cedar-policy/cedar-wasm/nodejs";
import type { PolicySet } from "./policy-set.ts";

/** The part of a question that scopes speak of. */
export interface Scoped {
  principal: Pick<Principal, "type" | "id" | "roles">;
  action: Action;
  resource: { type: string };
}

export interface PolicySlices {
  /** Name, inside Cedar, of the policies that have a part in it. */
  nameOf(question: Scoped): string;
  /** Whether a person's yes can make a difference to it. */
  looksAtYes(question: Scoped): boolean;
}

const slicesMax = 256;
const keysMax = 20_000;

/** Slices of a set; `prefix` begins their names, and those of a set before it are written over. */
export function createSlices(prefix: string, { policies, parsed }: PolicySet): PolicySlices {
  const scopes = [...parsed].map(([id, policy]) => ({ id, policy, isAsking: looksAtApproval(policy) }));
  const named = new Set(scopes.flatMap(({ policy }) => namedPrincipal(policy)));
  const slices = new Map<string, { name: string; asks: boolean }>();
  const byKey = new Map<string, { name: string; asks: boolean }>();

  function sliceOf(question: Scoped): { name: string; asks: boolean } {
    const { principal, action, resource } = question;
    const uid = `${principal.type}:${principal.id}`;
    const roles = [...new Set(principal.roles)].sort().join();
    const key = [action, principal.type, named.has(uid) ? principal.id : "", roles, resource.type].join("\n");
    const known = byKey.get(key);
    if (known) return known;
    if (byKey.size >= keysMax) byKey.clear();
    const slice = makeSlice(question);
    byKey.set(key, slice);
    return slice;
  }

  function makeSlice(question: Scoped): { name: string; asks: boolean } {
    const met = scopes.filter(({ policy }) => isMet(policy, question));
    const list = met.map(({ id }) => id).join();
    const known = slices.get(list);
    if (known) return known;
    if (slices.size >= slicesMax) {
      slices.clear();
      byKey.clear();
    }
    const slice = { name: `${prefix}-${slices.size}`, asks: met.some(({ isAsking }) => isAsking) };
    const texts = Object.fromEntries(met.map(({ id }) => [id, policies[id] ?? ""]));
    const answer = cedar.preparsePolicySet(slice.name, { staticPolicies: texts });
    if (answer.type === "failure") throw new Error(answer.errors.map(({ message }) => message).join("; "));
    slices.set(list, slice);
    return slice;
  }

  return {
    nameOf: (question) => sliceOf(question).name,
    looksAtYes: (question) => sliceOf(question).asks,
  };
}

function isMet({ principal, action, resource }: cedar.PolicyJson, question: Scoped): boolean {
  return meetsPrincipal(principal, question) && meetsAction(action, question) && meetsResource(resource, question);
}

function meetsPrincipal(scope: cedar.PrincipalConstraint, { principal }: Scoped): boolean {
  if (scope.op === "All" || "slot" in scope) return true;
  const isIt = (uid: cedar.EntityUidJson) => {
    const { type, id } = toUid(uid);
    return type === `Aether::${principal.type}` && id === principal.id;
  };
  const isIn = (uid: cedar.EntityUidJson) => {
    const { type, id } = toUid(uid);
    return isIt(uid) || (type === "Aether::Role" && principal.roles.some((role) => role === id));
  };
  if (scope.op === "==") return isIt(scope.entity);
  if (scope.op === "in") return isIn(scope.entity);
  const within = scope.in && "entity" in scope.in ? scope.in.entity : null;
  return scope.entity_type === `Aether::${principal.type}` && (within === null || isIn(within));
}

/** What is no action is a group of actions, and may hold any. */
function meetsAction(scope: cedar.ActionConstraint, { action }: Scoped): boolean {
  if (scope.op === "All" || "slot" in scope) return true;
  const uids = "entities" in scope ? scope.entities : [scope.entity];
  return uids.map(toUid).some(({ id }) => id === action || !actions.some((known) => known === id));
}

/** Policies name no single resource: only its type can keep one out. */
function meetsResource(scope: cedar.ResourceConstraint, { resource }: Scoped): boolean {
  return scope.op !== "is" || scope.entity_type === `Aether::${resource.type}`;
}

function namedPrincipal({ principal: scope }: cedar.PolicyJson): string[] {
  const entity =
    "entity" in scope ? scope.entity : scope.op === "is" && scope.in && "entity" in scope.in ? scope.in.entity : null;
  if (entity === null) return [];
  const { type, id } = toUid(entity);
  return [`${type.replace("Aether::", "")}:${id}`];
}

function looksAtApproval({ conditions }: cedar.PolicyJson): boolean {
  return JSON.stringify(conditions).includes('"approval"');
}

function toUid(uid: cedar.EntityUidJson): cedar.TypeAndId {
  return "__entity" in uid ? uid.__entity : uid;
}
