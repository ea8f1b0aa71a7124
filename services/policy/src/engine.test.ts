// The engine. What the shipped policies answer is said by their cases, services/policy/policies/*.test.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Action, DecisionContext, Principal } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { resourceTypeOf } from "./decider.ts";
import { type Engine, openEngine, type Question } from "./engine.ts";
import { type PolicyFiles, readPolicyFiles } from "./policy-files.ts";

const member: Principal = { type: "User", id: "1000", roles: ["member"] };
const operator: Principal = { type: "User", id: "0", roles: ["operator"] };
const nobody: Principal = { type: "User", id: "65534", roles: [] };
const agent: Principal = { type: "Agent", id: "aurora", roles: ["agent"], owner: "user:1000" };
const worker: Principal = { type: "Worker", id: "host-a", roles: [] };
const memory: Principal = { type: "Service", id: "memory", roles: [] };
const week = 7 * 24 * 60 * 60 * 1000;

const shipped = await readPolicyFiles(null);
const withText = (text: string): PolicyFiles => ({ ...shipped, texts: [...shipped.texts, ["own.cedar", text]] });
const own = "user:1000";
const other = "user:1001";

function about(action: Action, owner: string | null, context: DecisionContext = {}): Omit<Question, "principal"> {
  return { action, resource: { type: resourceTypeOf(action), owner, labels: {} }, context };
}

const aurora = "agent:aurora";
const small = { network: "none", cpus_milli: 2000, memory_bytes: 2 ** 31, timeout_ms: 3_600_000 };

function approval(requester: string, owner: string, action: Action): Omit<Question, "principal"> {
  return { action, resource: { type: "Approval", owner, labels: { requester } }, context: {} };
}

describe("the shipped policies", () => {
  const engine = openEngine(shipped);

  it.each([memory, worker])("let no $type answer what was asked, not even with a role", (principal) => {
    const question = {
      ...approval("agent:aurora", own, "answer_approval"),
      principal: { ...principal, roles: ["operator" as const] },
    };
    expect(engine.judge(question)).toMatchObject({ outcome: "deny", policies: ["people-answer"] });
  });

  it.each([
    ["its person reads it", member, "read_job", "allow"],
    ["its person reads its log", member, "read_logs", "allow"],
    ["its person kills it", member, "kill_job", "allow"],
    ["its person starts it", member, "start_job", "deny"],
    ["another kills it", { ...member, id: "1001" }, "kill_job", "deny"],
    ["who has no role kills it", { ...nobody, id: "1000" }, "kill_job", "deny"],
    ["an operator kills it", operator, "kill_job", "deny"],
  ] as const)("of an agent's job: %s", (_, principal, action, outcome) => {
    const resource = { type: "Job" as const, owner: aurora, labels: {}, person: own };
    const asked = { principal: { ...principal, roles: [...principal.roles] }, action, resource, context: {} };
    expect(engine.judge(asked).outcome).toBe(outcome);
  });

  it("validate without a warning", () => {
    expect(openEngine(shipped).load(shipped)).toEqual([]);
  });

  it.each([
    ["of the wrong type", about("submit_job", own, { timeout_ms: "long" })],
    ["that the schema does not know", about("submit_job", own, { nice: true })],
    ["of another action", about("read_job", own, { timeout_ms: 1 })],
    ["that claims an approval", about("submit_job", own, { approval: "me" })],
  ])("deny a context %s", (_, question) => {
    const verdict = engine.judge({ principal: member, ...question });
    expect(verdict).toMatchObject({ outcome: "deny", policies: [] });
    expect(verdict.reason).toMatch(/^policy cannot judge this/);
  });

  it("deny an action on a resource that it is not about", () => {
    const resource = { type: "Audit" as const, owner: own, labels: {} };
    expect(engine.judge({ principal: operator, action: "kill_job", resource, context: {} }).outcome).toBe("deny");
  });

  it("deny a principal of a type that they do not know", () => {
    const job: Principal = { type: "Job", id: "job_1", roles: ["operator"] };
    expect(engine.judge({ principal: job, ...about("read_job", "job:job_1") }).outcome).toBe("deny");
  });
});

describe("a set of policies", () => {
  const permitAll = (id: string, rest = "") => `@id("${id}") @reason("r") permit (principal, action, resource)${rest};`;
  const judged = (engine: Engine) => engine.judge({ principal: member, ...about("submit_job", other) }).outcome;

  it.each([
    ["an unknown attribute", permitAll("x", " when { resource.colour == 1 }"), /colour/],
    ["an optional attribute that is not asked for first", permitAll("x", ' when { resource.owner == "a" }'), /owner/],
    ["an unknown type", '@id("x") @reason("r") permit (principal == Aether::Wizard::"a", action, resource);', /Wizard/],
    ["no id", "permit (principal, action, resource);", /@id/],
    ["no reason", '@id("x") permit (principal, action, resource);', /@reason/],
    ["an id that is taken", permitAll("own-jobs"), /two policies/],
    [
      "a single job by its id",
      '@id("x") @reason("r") permit (principal, action, resource == Aether::Job::"job_1");',
      /single/,
    ],
    ["a timeout that is none", permitAll("x").replace("permit", '@timeout("soon") permit'), /@timeout/],
    ["a template", '@id("x") @reason("r") permit (principal == ?principal, action, resource);', /templates/],
    ["no Cedar", "allow everything please", /own\.cedar/],
  ])("with %s is refused and the old one answers", (_, text, message) => {
    const engine = openEngine(shipped);
    const { version } = engine;
    expect(() => engine.load(withText(text))).toThrow(message);
    expect(engine.version).toBe(version);
    expect(judged(engine)).toBe("deny");
  });

  it("answers as soon as it is loaded, over what was judged before", () => {
    const engine = openEngine(shipped);
    expect(judged(engine)).toBe("deny");
    engine.load(withText(permitAll("all")));
    expect(judged(engine)).toBe("allow");
    engine.load(withText(`@id("none") @reason("closed today") forbid (principal, action, resource);`));
    expect(engine.judge({ principal: member, ...about("submit_job", own) })).toMatchObject({
      outcome: "deny",
      reason: "closed today",
    });
    engine.load(shipped);
    expect(judged(engine)).toBe("deny");
  });

  it("denies when a policy cannot be evaluated, also where another one permits", () => {
    const overflow = "context has timeout_ms && context.timeout_ms * 9223372036854775807 < 0";
    const text = `@id("broken") @reason("r") forbid (principal, action == Aether::Action::"submit_job", resource) when { ${overflow} };`;
    const engine = openEngine(withText(text));
    const verdict = engine.judge({ principal: member, ...about("submit_job", own, { timeout_ms: 1000 }) });
    expect(verdict).toMatchObject({ outcome: "deny", policies: [] });
    expect(verdict.reason).toMatch(/broken/);
  });

  it("asks where a person's yes would allow it, unless something forbids it all the same", () => {
    const text =
      '@id("with-yes") @reason("needs a yes") permit (principal, action == Aether::Action::"submit_job", resource) when { context has approval };';
    const engine = openEngine(withText(text));
    const submit = (timeoutMs: number) =>
      engine.judge({ principal: nobody, ...about("submit_job", own, { timeout_ms: timeoutMs }) });
    expect(submit(1000)).toMatchObject({ outcome: "ask", reason: "needs a yes", policies: ["with-yes"] });
    expect(submit(week + 1).outcome).toBe("deny");
  });

  it("offers the answers that policies accept, and asks with their words", () => {
    const text = `
      @id("may") @reason("a person must agree") @ask("May it?") @timeout("10m")
      permit (principal, action == Aether::Action::"submit_job", resource) when { context has approval };
      @id("high") @reason("high priority is asked each time") @ask("High priority: may it?") @timeout("5m")
      forbid (principal, action == Aether::Action::"submit_job", resource) when { context has priority && context.priority > 10 }
      unless { context has approval && context.approval.scope == "once" };
      @id("not-eve") @reason("eve answers nothing")
      forbid (principal, action == Aether::Action::"submit_job", resource) when { context has approval && context.approval.by == "user:9" };`;
    const engine = openEngine(withText(text));
    const submit = (priority: number, approval?: Question["approval"]) =>
      engine.judge({ principal: nobody, ...about("submit_job", own, { priority }), ...(approval && { approval }) });
    expect(submit(1).prompt).toEqual({
      ...{ scopes: ["once", "session", "always"], ask: "May it?", timeoutMs: 600_000 },
      why: [{ policy: "may", reason: "a person must agree" }],
    });
    expect(submit(11)).toMatchObject({ outcome: "ask", policies: ["high", "may"] });
    expect(submit(11).prompt).toMatchObject({ scopes: ["once"], ask: "High priority: may it?", timeoutMs: 300_000 });
    expect(submit(11, { by: "user:0", scope: "once" }).outcome).toBe("allow");
    expect(submit(11, { by: "user:0", scope: "always" }).outcome).toBe("deny");
    expect(submit(1, { by: "user:9", scope: "once" })).toMatchObject({ outcome: "deny", policies: ["not-eve"] });
  });

  it("denies when a policy cannot be evaluated with the yes in it", () => {
    const overflow = "context has approval && context has priority && context.priority * 9223372036854775807 < 0";
    const text = `@id("may") @reason("r") permit (principal, action == Aether::Action::"submit_job", resource) when { context has approval };
      @id("broken") @reason("r") forbid (principal, action == Aether::Action::"submit_job", resource) when { ${overflow} };`;
    const verdict = openEngine(withText(text)).judge({
      principal: nobody,
      ...about("submit_job", own, { priority: 2 }),
    });
    expect(verdict).toMatchObject({ outcome: "deny", policies: [] });
  });

  it("with the rules about secrets that the documents show gives what they say and no more", () => {
    const text = readFileSync(join(import.meta.dirname, "../../../docs/jobs.md"), "utf8");
    const engine = openEngine(withText(/```cedar\n(.*?)```/s.exec(text)?.[1] ?? ""));
    const starts = (...secrets: string[]) =>
      engine.judge({ principal: agent, ...about("start_job", aurora, { ...small, secrets }) }).outcome;
    expect([starts("user:1000/deploy"), starts("user:1000/other")]).toEqual(["allow", "ask"]);
    expect(starts("user:1000/deploy", "user:1000/other")).toBe("ask");
    const lent = (id: string, labels: Record<string, string>) => {
      const resource = { type: "Secret" as const, owner: own, labels };
      return engine.judge({ principal: { ...member, id }, action: "use_secret", resource, context: {} }).outcome;
    };
    expect([lent("1001", { share: "1001" }), lent("1001", {}), lent("1002", { share: "1001" })]).toEqual([
      ...["allow", "deny", "deny"],
    ]);
  });

  it("sees labels", () => {
    const text =
      '@id("shared") @reason("r") permit (principal in Aether::Role::"member", action == Aether::Action::"read_job", resource) when { resource.hasTag("share") && resource.getTag("share") == "all" };';
    const engine = openEngine(withText(text));
    const read = (labels: Record<string, string>) =>
      engine.judge({
        principal: member,
        action: "read_job",
        resource: { type: "Job", owner: other, labels },
        context: {},
      });
    expect(read({ share: "all" }).outcome).toBe("allow");
    expect(read({ share: "none" }).outcome).toBe("deny");
    expect(read({}).outcome).toBe("deny");
  });
});
