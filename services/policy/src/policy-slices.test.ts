import { type Action, actions, resourceTypes } from "@aether/contracts";
import * as cedar from "@cedar-policy/cedar-wasm/nodejs";
import { describe, expect, it } from "vitest";
import { type PolicyFiles, readPolicyFiles } from "./policy-files.ts";
import { checkPolicies } from "./policy-set.ts";
import { createSlices, type Scoped } from "./policy-slices.ts";

const shipped = await readPolicyFiles(null);
/** Every form that a scope can have. */
const own = `
  @id("o-all") @reason("r") forbid (principal, action, resource) when { principal is Aether::User && principal.name == "user:13" };
  @id("o-user") @reason("r") permit (principal == Aether::User::"7", action == Aether::Action::"kill_job", resource);
  @id("o-user-all") @reason("r") forbid (principal == Aether::User::"8", action, resource);
  @id("o-in-itself") @reason("r") permit (principal in Aether::User::"7", action in [Aether::Action::"stop_job", Aether::Action::"read_audit"], resource);
  @id("o-role") @reason("r") permit (principal in Aether::Role::"agent", action in [Aether::Action::"read_metrics"], resource);
  @id("o-is") @reason("r") permit (principal is Aether::Worker, action == Aether::Action::"read_job", resource is Aether::Job);
  @id("o-is-in") @reason("r") forbid (principal is Aether::User in Aether::Role::"operator", action, resource is Aether::Grant);
  @id("o-yes") @reason("r") permit (principal is Aether::Service, action == Aether::Action::"kill_job", resource) when { context has approval };`;
const files: PolicyFiles = { ...shipped, texts: [...shipped.texts, ["own.cedar", own]] };
const set = checkPolicies(files);
const principals: Scoped["principal"][] = [
  ...["7", "8", "13", "1000"].map((id) => ({ type: "User" as const, id, roles: ["member" as const] })),
  ...["7", "0"].map((id) => ({ type: "User" as const, id, roles: ["operator" as const, "member" as const] })),
  { type: "User", id: "9", roles: [] },
  { type: "Agent", id: "7", roles: ["agent"] },
  { type: "Agent", id: "aurora", roles: [] },
  { type: "Worker", id: "host-a", roles: [] },
  { type: "Service", id: "memory", roles: ["operator"] },
];

describe("slices of policies", () => {
  it("answer every question as the whole set does, by the same policies", () => {
    const slices = createSlices("slices-test", set);
    cedar.preparsePolicySet("slices-test-whole", { staticPolicies: { ...set.policies } });
    let allowed = 0;
    for (const principal of principals) {
      for (const action of actions) {
        for (const type of resourceTypes) {
          const question = { principal, action, resource: { type } };
          const whole = judge("slices-test-whole", question);
          expect(judge(slices.nameOf(question), question), JSON.stringify(question)).toEqual(whole);
          if (whole.includes("allow")) allowed++;
        }
      }
    }
    expect(allowed).toBeGreaterThan(100);
  });

  it("are few, however many policies name somebody", () => {
    const text = Array.from(
      { length: 600 },
      (_, n) =>
        `@id("n-${n}") @reason("r") permit (principal == Aether::User::"${n}", action == Aether::Action::"kill_job", resource);`,
    );
    const many = checkPolicies({ ...shipped, texts: [...shipped.texts, ["own.cedar", text.join("\n")]] });
    const slices = createSlices("slices-many", many);
    const names = new Set<string>();
    for (let id = 0; id < 700; id++) {
      const question = {
        principal: { type: "User" as const, id: `${id}`, roles: [] },
        action: "kill_job" as const,
        resource: { type: "Job" },
      };
      names.add(slices.nameOf(question));
      expect(judge(slices.nameOf(question), question)).toBe(id < 600 ? `allow n-${id}` : "deny ");
    }
    expect(names.size).toBeLessThanOrEqual(256);
  });

  it("tell where a person's yes can make a difference", () => {
    const slices = createSlices("slices-yes", set);
    const looks = (type: "Service" | "User" | "Agent", action: Action) =>
      slices.looksAtYes({
        principal: { type, id: "x", roles: type === "Agent" ? ["agent"] : [] },
        action,
        resource: { type: "Job" },
      });
    expect([looks("Service", "kill_job"), looks("User", "kill_job")]).toEqual([true, false]);
    expect([looks("Agent", "start_job"), looks("Agent", "submit_job"), looks("User", "start_job")]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

/** The decision and who made it; without a schema, so that every pair of action and type is tried. */
function judge(name: string, { principal, action, resource }: Scoped): string {
  const owner = `${principal.type.toLowerCase()}:${principal.id}`;
  const uid = { type: `Aether::${principal.type}`, id: principal.id };
  const parents = principal.roles.map((id) => ({ type: "Aether::Role", id }));
  const answer = cedar.statefulIsAuthorized({
    principal: uid,
    action: { type: "Aether::Action", id: action },
    resource: { type: `Aether::${resource.type}`, id: "*" },
    context: { clears: true },
    preparsedPolicySetId: name,
    entities: [
      { uid, attrs: { name: owner }, parents },
      { uid: { type: `Aether::${resource.type}`, id: "*" }, attrs: { owner }, parents: [], tags: { requester: owner } },
    ],
  });
  if (answer.type === "failure") throw new Error(answer.errors.map(({ message }) => message).join());
  const { decision, diagnostics } = answer.response;
  return `${decision} ${diagnostics.reason.toSorted().join()}${diagnostics.errors.map(({ policyId }) => ` !${policyId}`).join("")}`;
}
