import type { Action, DecisionContext, Principal } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { type Engine, openEngine, type Question } from "./engine.ts";
import { type PolicyFiles, readPolicyFiles } from "./policy-files.ts";

const member: Principal = { type: "User", id: "1000", roles: ["member"] };
const operator: Principal = { type: "User", id: "0", roles: ["operator"] };
const nobody: Principal = { type: "User", id: "65534", roles: [] };
const agent: Principal = { type: "Agent", id: "aurora", roles: ["agent"], owner: "user:1000" };
const rightless: Principal = { type: "Agent", id: "aurora", roles: [] };
const worker: Principal = { type: "Worker", id: "host-a", roles: [] };
const memory: Principal = { type: "Service", id: "memory", roles: [] };
const week = 7 * 24 * 60 * 60 * 1000;

const shipped = await readPolicyFiles(null);
const withText = (text: string): PolicyFiles => ({ ...shipped, texts: [...shipped.texts, ["own.cedar", text]] });
const own = "user:1000";
const other = "user:1001";

function about(action: Action, owner: string | null, context: DecisionContext = {}): Omit<Question, "principal"> {
  const type = typeOf(action);
  return { action, resource: { type, owner, labels: {} }, context };
}

function typeOf(action: Action): Question["resource"]["type"] {
  if (action.endsWith("_audit")) return "Audit";
  if (action === "check_policy") return "Policy";
  if (action === "list_approvals" || action === "set_human_secret") return "Approvals";
  if (action.endsWith("_approval")) return "Approval";
  if (action === "list_jobs") return "Jobs";
  if (action === "read_metrics") return "Metrics";
  if (action === "emit_event" || action === "read_events") return "Events";
  if (action === "list_agents") return "Agents";
  if (action.endsWith("_agent")) return "AgentRecord";
  if (action.endsWith("_artifacts")) return "Artifacts";
  if (action.endsWith("_artifact")) return "Artifact";
  if (action === "memory_list" || action === "memory_search") return "Memory";
  return action.startsWith("memory_") ? "MemoryEntry" : "Job";
}

const aurora = "agent:aurora";
const small = { network: "none", cpus_milli: 2000, memory_bytes: 2 ** 31, timeout_ms: 3_600_000 };
const large = { ...small, cpus_milli: 2001 };

function approval(requester: string, owner: string, action: Action): Omit<Question, "principal"> {
  return { action, resource: { type: "Approval", owner, labels: { requester } }, context: {} };
}

const table: [string, Principal, Omit<Question, "principal">, "allow" | "ask" | "deny", string][] = [
  ["a member submits", member, about("submit_job", own, { timeout_ms: 1000 }), "allow", "own-jobs"],
  ["a member submits for another", member, about("submit_job", other), "deny", ""],
  ["a member's job starts", member, about("start_job", own, { timeout_ms: week, attempt: 1 }), "allow", "own-jobs"],
  ["a job over a week", member, about("submit_job", own, { timeout_ms: week + 1 }), "deny", "limit-timeout"],
  [
    "an operator's job over a week",
    operator,
    about("submit_job", "user:0", { timeout_ms: week + 1 }),
    "deny",
    "limit-timeout",
  ],
  ["a start over a week", member, about("start_job", own, { timeout_ms: week + 1 }), "deny", "limit-timeout"],
  ["a member reads", member, about("read_job", own), "allow", "own-jobs"],
  ["a member reads another's", member, about("read_job", other), "deny", ""],
  ["a member reads nobody's", member, about("read_job", null), "deny", ""],
  ["a member reads another's log", member, about("read_logs", other), "deny", ""],
  ["a member stops", member, about("stop_job", own), "allow", "own-jobs"],
  ["a member kills another's", member, about("kill_job", other), "deny", ""],
  ["a member lists", member, about("list_jobs", own), "allow", "list-and-ask"],
  ["a member stores an artifact", member, about("put_artifact", own, { type: "text/plain" }), "allow", "own-artifacts"],
  ["a member stores an artifact for another", member, about("put_artifact", other), "deny", ""],
  ["a member reads an artifact", member, about("read_artifact", own), "allow", "own-artifacts"],
  ["a member reads another's artifact", member, about("read_artifact", other), "deny", ""],
  ["a member deletes an artifact", member, about("delete_artifact", own), "allow", "own-artifacts"],
  ["a member deletes another's artifact", member, about("delete_artifact", other), "deny", ""],
  ["a member lists artifacts", member, about("list_artifacts", own), "allow", "list-artifacts"],
  ["an operator reads another's artifact", operator, about("read_artifact", other), "allow", "operators-read"],
  ["an operator deletes another's artifact", operator, about("delete_artifact", other), "deny", ""],
  ["an operator lists artifacts", operator, about("list_artifacts", "user:0"), "allow", "list-artifacts"],
  ["who has no role stores an artifact", nobody, about("put_artifact", "user:65534"), "deny", ""],
  ["who has no role lists artifacts", nobody, about("list_artifacts", "user:65534"), "deny", ""],
  ["a worker reads an artifact", worker, about("read_artifact", own), "deny", ""],
  ["a member asks policy", member, about("check_policy", own), "allow", "list-and-ask"],
  ["a member reads the audit log", member, about("read_audit", own), "deny", "audit-for-operators"],
  ["a member verifies the audit log", member, about("verify_audit", own), "deny", "audit-for-operators"],
  ["an operator reads another's", operator, about("read_job", other), "allow", "operators-read"],
  ["an operator reads another's log", operator, about("read_logs", other), "allow", "operators-read"],
  ["an operator kills another's", operator, about("kill_job", other), "deny", ""],
  ["an operator reads the audit log", operator, about("read_audit", "user:0"), "allow", "operators-read"],
  ["an operator verifies the audit log", operator, about("verify_audit", "user:0"), "allow", "operators-read"],
  [
    "a member keeps a note",
    member,
    about("memory_write", own, { kind: "note", origin: "here" }),
    "allow",
    "own-memory",
  ],
  ["a member keeps a note for another", member, about("memory_write", other), "deny", ""],
  ["a member reads their memory", member, about("memory_read", own), "allow", "own-memory"],
  ["a member reads another's memory", member, about("memory_read", other), "deny", ""],
  ["a member forgets", member, about("memory_delete", own), "allow", "own-memory"],
  ["a member forgets another's", member, about("memory_delete", other), "deny", ""],
  ["a member lists their memory", member, about("memory_list", own), "allow", "search-own-memory"],
  ["a member searches their memory", member, about("memory_search", own), "allow", "search-own-memory"],
  ["an operator reads another's memory", operator, about("memory_read", other), "allow", "operators-read"],
  ["an operator lists memory", operator, about("memory_list", "user:0"), "allow", "operators-read"],
  ["an operator searches memory", operator, about("memory_search", "user:0"), "allow", "operators-read"],
  ["an operator forgets another's", operator, about("memory_delete", other), "deny", ""],
  ["an operator writes into another's", operator, about("memory_write", other), "deny", ""],
  ["who has no role keeps a note", nobody, about("memory_write", "user:65534"), "deny", ""],
  ["who has no role searches", nobody, about("memory_search", "user:65534"), "deny", ""],
  ["who has no role lists memory", nobody, about("memory_list", "user:65534"), "deny", ""],
  [
    "memory submits a job",
    memory,
    about("submit_job", "service:memory", { timeout_ms: 1000 }),
    "allow",
    "memory-reads-documents",
  ],
  [
    "memory's job starts",
    memory,
    about("start_job", "service:memory", { attempt: 1 }),
    "allow",
    "memory-reads-documents",
  ],
  ["memory kills a member's job", memory, about("kill_job", own), "deny", ""],
  [
    "memory stores a file of its own",
    memory,
    about("put_artifact", "service:memory"),
    "allow",
    "memory-reads-documents",
  ],
  ["memory reads a member's artifact", memory, about("read_artifact", own), "deny", ""],
  ["memory deletes a member's artifact", memory, about("delete_artifact", own), "deny", ""],
  ["memory lists artifacts", memory, about("list_artifacts", "service:memory"), "allow", "memory-lists-its-files"],
  [
    "another service reads what is memory's",
    { ...memory, id: "jobs" },
    about("read_artifact", "service:memory"),
    "deny",
    "",
  ],
  ["a member reads metrics", member, about("read_metrics", own), "deny", ""],
  ["an operator reads metrics", operator, about("read_metrics", "user:0"), "allow", "operators-read"],
  ["who has no role reads metrics", nobody, about("read_metrics", "user:65534"), "deny", ""],
  ["a member emits an event", member, about("emit_event", own), "allow", "own-events"],
  ["a member emits an event for another", member, about("emit_event", other), "deny", ""],
  ["a member reads events", member, about("read_events", own), "allow", "own-events"],
  ["a member reads another's events", member, about("read_events", other), "deny", ""],
  ["an operator reads another's events", operator, about("read_events", other), "allow", "operators-read"],
  ["an operator emits an event for another", operator, about("emit_event", other), "deny", ""],
  ["who has no role emits an event", nobody, about("emit_event", "user:65534"), "deny", ""],
  ["who has no role reads events", nobody, about("read_events", "user:65534"), "deny", ""],
  ["a member makes an agent", member, about("add_agent", own), "allow", "own-agents"],
  ["a member makes an agent for another", member, about("add_agent", other), "deny", ""],
  ["a member reads an agent of theirs", member, about("read_agent", own), "allow", "own-agents"],
  ["a member reads another's agent", member, about("read_agent", other), "deny", ""],
  ["a member runs an agent of theirs", member, about("run_agent", own), "allow", "own-agents"],
  ["a member runs another's agent", member, about("run_agent", other), "deny", ""],
  ["a member removes an agent of theirs", member, about("remove_agent", own), "allow", "own-agents"],
  ["a member removes another's agent", member, about("remove_agent", other), "deny", ""],
  ["a member lists agents", member, about("list_agents", own), "allow", "list-agents"],
  ["an operator makes an agent for another", operator, about("add_agent", other), "allow", "operators-agents"],
  ["an operator reads another's agent", operator, about("read_agent", other), "allow", "operators-agents"],
  ["an operator runs another's agent", operator, about("run_agent", other), "allow", "operators-agents"],
  ["an operator removes another's agent", operator, about("remove_agent", other), "allow", "operators-agents"],
  ["who has no role makes an agent", nobody, about("add_agent", "user:65534"), "deny", ""],
  ["who has no role runs what is theirs", nobody, about("run_agent", "user:65534"), "deny", ""],
  ["who has no role lists agents", nobody, about("list_agents", "user:65534"), "deny", ""],
  ["an agent makes an agent", agent, about("add_agent", aurora), "deny", ""],
  ["an agent reads itself as its owner's thing", agent, about("read_agent", own), "deny", ""],
  ["an agent runs itself", agent, about("run_agent", own), "deny", ""],
  ["an agent removes itself", agent, about("remove_agent", own), "deny", ""],
  ["an agent lists agents", agent, about("list_agents", aurora), "deny", ""],
  ["a service runs an agent", memory, about("run_agent", own), "deny", ""],
  ["who has no role submits", nobody, about("submit_job", "user:65534"), "deny", ""],
  ["who has no role reads what is theirs", nobody, about("read_job", "user:65534"), "deny", ""],
  ["an agent without a role", rightless, about("submit_job", aurora), "deny", ""],
  ["an agent submits", agent, about("submit_job", aurora, large), "allow", "agents-jobs"],
  ["an agent submits for its person", agent, about("submit_job", own, small), "deny", ""],
  ["an agent's small job starts", agent, about("start_job", aurora, small), "allow", "agents-run-small"],
  ["an agent's large job", agent, about("start_job", aurora, large), "ask", "agents-ask-for-more"],
  [
    "an agent's long job",
    agent,
    about("start_job", aurora, { ...small, timeout_ms: 3_600_001 }),
    "ask",
    "agents-ask-for-more",
  ],
  [
    "an agent's job with network",
    agent,
    about("start_job", aurora, { ...small, network: "allowlist" }),
    "ask",
    "agents-ask-for-more",
  ],
  ["an agent's job that does not say how large", agent, about("start_job", aurora), "ask", "agents-ask-for-more"],
  [
    "an agent's job over a week",
    agent,
    about("start_job", aurora, { ...small, timeout_ms: week + 1 }),
    "deny",
    "limit-timeout",
  ],
  ["an agent kills its job", agent, about("kill_job", aurora), "allow", "agents-jobs"],
  ["an agent kills its person's job", agent, about("kill_job", own), "deny", ""],
  ["an agent deletes its artifact", agent, about("delete_artifact", aurora), "allow", "agents-artifacts"],
  ["an agent reads its person's artifact", agent, about("read_artifact", own), "deny", ""],
  ["an agent forgets its memory", agent, about("memory_delete", aurora), "allow", "agents-memory"],
  ["an agent emits an event", agent, about("emit_event", aurora), "allow", "agents-events"],
  ["an agent reads the audit log", agent, about("read_audit", aurora), "deny", "audit-for-operators"],
  ["an agent sees what it asked", agent, approval("agent:aurora", own, "read_approval"), "allow", "see-own-approvals"],
  ["an agent sees what another asked", agent, approval("agent:other", own, "read_approval"), "deny", ""],
  [
    "an agent withdraws what it asked",
    agent,
    approval("agent:aurora", own, "revoke_approval"),
    "allow",
    "see-own-approvals",
  ],
  ["an agent answers", agent, approval("agent:aurora", own, "answer_approval"), "deny", "people-answer"],
  [
    "an agent answers what is its own",
    agent,
    approval("agent:aurora", aurora, "answer_approval"),
    "deny",
    "people-answer",
  ],
  ["an agent lists approvals", agent, about("list_approvals", aurora), "allow", "list-approvals"],
  ["an agent sets a secret", agent, about("set_human_secret", aurora, { clears: false }), "deny", ""],
  ["a person answers for their agent", member, approval("agent:aurora", own, "answer_approval"), "allow", "answer-own"],
  ["a person answers for another's agent", member, approval("agent:other", other, "answer_approval"), "deny", ""],
  ["a person sees what another asked", member, approval(other, other, "read_approval"), "deny", ""],
  [
    "an operator answers for another's agent",
    operator,
    approval("agent:other", other, "answer_approval"),
    "allow",
    "operators-answer",
  ],
  ["an operator takes back", operator, approval("agent:other", other, "revoke_approval"), "allow", "operators-answer"],
  ["an operator lists approvals", operator, about("list_approvals", "user:0"), "allow", "operators-read"],
  [
    "who has no role answers what they asked",
    nobody,
    approval("user:65534", "user:65534", "answer_approval"),
    "deny",
    "",
  ],
  [
    "a service answers",
    { ...memory, roles: ["operator"] },
    approval("agent:aurora", own, "answer_approval"),
    "deny",
    "people-answer",
  ],
  [
    "a worker answers",
    { ...worker, roles: ["operator"] },
    approval("agent:aurora", own, "answer_approval"),
    "deny",
    "people-answer",
  ],
  ["a member sets their secret", member, about("set_human_secret", own, { clears: false }), "allow", "own-secret"],
  ["a member clears another's secret", member, about("set_human_secret", own, { clears: true, of: other }), "deny", ""],
  [
    "an operator clears another's secret",
    operator,
    about("set_human_secret", "user:0", { clears: true, of: other }),
    "allow",
    "operators-clear-secrets",
  ],
  [
    "an operator sets another's secret",
    operator,
    about("set_human_secret", "user:0", { clears: false, of: other }),
    "deny",
    "",
  ],
  ["a worker", worker, about("read_job", "worker:host-a"), "deny", ""],
];

describe("the shipped policies", () => {
  const engine = openEngine(shipped);

  it.each(table)("%s", (_, principal, question, outcome, policy) => {
    const verdict = engine.judge({ principal, ...question });
    expect(verdict.outcome).toBe(outcome);
    if (policy) expect(verdict.policies).toContain(policy);
    else expect(verdict.reason).toBe(`no policy permits ${question.action}`);
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
