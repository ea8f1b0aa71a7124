import { createHash } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bus, openBucket, request, streamState } from "@aether/bus";
import {
  checkPolicy,
  createId,
  decide,
  healthOperation,
  listAudit,
  type Operation,
  type Principal,
  ProblemError,
  verifyAudit,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import type { startPolicy } from "../src/index.ts";
import { ask, member, openRoom, operator, question, type Room, storedRecords, stranger } from "./_fixture.ts";

const missing = requireBackend("nats");
describe.skipIf(missing)(`decisions${missing ? `: ${missing}` : ""}`, () => {
  let room: Room;
  let policy: Awaited<ReturnType<typeof startPolicy>>;
  let jobs: Bus;
  let gateway: Bus;

  beforeAll(async () => {
    room = await openRoom();
    policy = await room.start();
    jobs = await room.nats.connect("jobs");
    gateway = await room.nats.connect("gateway");
  });
  afterAll(async () => {
    await jobs[Symbol.asyncDispose]();
    await gateway[Symbol.asyncDispose]();
    await policy[Symbol.asyncDispose]();
    await room[Symbol.asyncDispose]();
  });

  const from = (principal: Principal) => ({ envelope: { request_id: createId("req"), principal } });
  const job = (owner: string) => ({ type: "Job" as const, id: createId("job"), owner, labels: {} });
  const refusal = (error: unknown) => (error instanceof ProblemError ? error.slug : error);

  it("what is to come is judged beside what is decided, as the owner's and with nothing recorded about it", async () => {
    const ahead = (timeout_ms: number) => ({ action: "start_job" as const, context: { timeout_ms }, labels: {} });
    const before = (await storedRecords(room.nats)).length;
    for (const [timeout, allowed] of [
      [1000, true],
      [700_000_000, false],
    ] as const) {
      const asked = question({ ahead: ahead(timeout) });
      const { reply } = await request(jobs, decide, asked, { envelope: { request_id: asked.request_id } });
      expect(reply).toMatchObject({ outcome: "allow", ahead: allowed });
    }
    expect((await storedRecords(room.nats)).slice(before).map(({ action }) => action)).toEqual([
      "submit_job",
      "submit_job",
    ]);
    const wrong = question({ ahead: { ...ahead(1), action: "kill_job" } });
    const refused = request(jobs, decide, wrong, { envelope: { request_id: wrong.request_id } });
    expect(await refused.catch(refusal)).toBe("invalid-request");
  });

  it("an allowed act is in the log, with every field, before it is answered", async () => {
    const asked = question({ job_id: createId("job"), intent_id: createId("int") });
    const { reply } = await request(jobs, decide, asked, { envelope: { request_id: asked.request_id } });
    expect(reply).toMatchObject({ outcome: "allow", policies: ["own-jobs"], visible: true });
    const record = (await storedRecords(room.nats)).find(({ id }) => id === reply.decision_id);
    expect(record).toMatchObject({
      kind: "decision",
      actor: { type: "User", id: "1000", uid: 1000, gid: 1000, pid: 4242, owner: null, same_uid: false, via: "jobs" },
      intent_id: asked.intent_id,
      job_id: asked.job_id,
      action: "submit_job",
      resource: { type: "Job", id: asked.resource.id },
      decision: {
        outcome: "allow",
        reason: reply.reason,
        policies: ["own-jobs"],
        policy_version: reply.policy_version,
      },
      provenance: { request_id: asked.request_id, digest: asked.digest, source: null },
      count: 1,
    });
    expect(reply.policy_version).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(record?.ts.boot_id).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("says whether what is denied may be seen", async () => {
    const deny = async (principal: Principal, action: "kill_job" | "read_job" | "submit_job", owner: string) => {
      const { outcome, visible } = await ask(jobs, { principal, action, resource: job(owner) });
      expect(outcome).toBe("deny");
      return visible;
    };
    expect(await deny(member, "kill_job", "user:1001")).toBe(false);
    expect(await deny(operator, "kill_job", "user:1001")).toBe(true);
    expect(await deny(member, "read_job", "user:1001")).toBe(false);
    expect(await deny(member, "submit_job", "user:1001")).toBe(true);
    expect(await deny(stranger, "submit_job", "user:65534")).toBe(true);
  });

  it("says whose jobs a list is of", async () => {
    const list = async (principal: Principal) => {
      const resource = { type: "Jobs" as const, id: "*", owner: `user:${principal.id}`, labels: {} };
      const { outcome, scope } = await ask(jobs, { principal, action: "list_jobs", resource, record: "summary" });
      return `${outcome} ${scope}`;
    };
    expect(await list(operator)).toBe("allow all");
    expect(await list(member)).toBe("allow own");
    expect(await list(stranger)).toBe("deny own");
  });

  it("status reads are counted, a second of them is one record", async () => {
    const reader: Principal = { type: "User", id: "2000", roles: ["member"] };
    const reads = {
      principal: reader,
      action: "read_job" as const,
      resource: job("user:2000"),
      record: "summary" as const,
    };
    for (let n = 0; n < 30; n++) expect((await ask(jobs, reads)).decision_id).toBeNull();
    const records = await waitFor("the counts to be written", async () => {
      const found = (await storedRecords(room.nats)).filter(({ actor }) => actor.id === "2000");
      return found.reduce((sum, { count }) => sum + count, 0) === 30 ? found : null;
    });
    expect(records.length).toBeLessThan(4);
    expect(records[0]).toMatchObject({ kind: "summary", action: "read_job", resource: { type: "Job", id: "*" } });
  });

  it("only status reads are counted, whatever the caller says", async () => {
    const { decision_id } = await ask(jobs, { record: "summary" });
    expect(decision_id).not.toBeNull();
  });

  it("equal denials are one record at once and one counted record a second", async () => {
    const denied: Principal = { type: "User", id: "2001", roles: ["member"] };
    const asked = () => ask(jobs, { principal: denied, context: { timeout_ms: 8 * 24 * 3600 * 1000 } });
    const replies = await Promise.all(Array.from({ length: 50 }, asked));
    expect(new Set(replies.map(({ decision_id }) => decision_id)).size).toBe(1);
    const records = await waitFor("the counts to be written", async () => {
      const found = (await storedRecords(room.nats)).filter(({ actor }) => actor.id === "2001");
      return found.reduce((sum, { count }) => sum + count, 0) === 50 ? found : null;
    });
    expect(records.map(({ kind }) => kind)).toEqual(["decision", "denials"]);
    expect(records[0]?.id).toBe(replies[0]?.decision_id);
    expect(records[1]).toMatchObject({ count: 49, note: `equal to ${replies[0]?.decision_id}` });
  });

  it("check answers for the caller and records only that it was asked", async () => {
    const before = (await storedRecords(room.nats)).length;
    const check = async (principal: Principal, input: z.input<typeof checkPolicy.request>) =>
      (await request(gateway, checkPolicy, input, from(principal))).reply;
    expect(await check(member, { action: "submit_job", context: { timeout_ms: 1 } })).toMatchObject({
      decision: "allow",
    });
    const long = { action: "submit_job" as const, context: { timeout_ms: 30 * 24 * 3600 * 1000 } };
    expect(await check(operator, long)).toMatchObject({ decision: "deny", policies: ["limit-timeout"] });
    expect(await check(member, { action: "kill_job", resource: { type: "Job", owner: "user:1001" } })).toMatchObject({
      decision: "deny",
      reason: "no policy permits kill_job",
    });
    const records = (await storedRecords(room.nats)).slice(before).filter(({ kind }) => kind === "decision");
    expect(records.map(({ action }) => action)).toEqual(["check_policy", "check_policy", "check_policy"]);
    await expect(check(stranger, { action: "submit_job" }).catch(refusal)).resolves.toBe("policy-denied");
  });

  it("the log is listed newest first, filtered and by pages, for operators", async () => {
    const jobId = createId("job");
    for (let n = 0; n < 5; n++) await ask(jobs, { job_id: jobId });
    const list = async (input: z.input<typeof listAudit.request>) =>
      (await request(gateway, listAudit, input, from(operator))).reply;
    const first = await list({ job_id: jobId, limit: 2 });
    const second = await list({ job_id: jobId, limit: 2, cursor: first.next_cursor ?? "" });
    const third = await list({ job_id: jobId, limit: 2, cursor: second.next_cursor ?? "" });
    const seqs = [first, second, third].flatMap(({ items }) => items.map(({ seq }) => seq));
    expect(seqs).toHaveLength(5);
    expect(seqs).toEqual(seqs.toSorted((a, b) => b - a));
    expect(third.next_cursor).toBeNull();
    const { items } = await list({ actor: "user:1000", decision: "deny", action: "submit_job" });
    expect(items.every(({ actor, decision }) => actor.id === "1000" && decision?.outcome === "deny")).toBe(true);
    expect((await list({ limit: 1 })).items[0]).toMatchObject({ action: "read_audit", actor: { id: "0" } });
    await expect(list({ cursor: "x" }).catch(refusal)).resolves.toBe("invalid-request");
    const denied = await request(gateway, listAudit, {}, from(member)).catch((error: unknown) => error);
    expect((denied as ProblemError).problem).toMatchObject({ status: 403, detail: "the audit log is for operators" });
  });

  it("the log is verified, for operators", async () => {
    const { reply } = await request(gateway, verifyAudit, {}, from(operator));
    expect(reply).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
    expect(reply.records).toBe(reply.last_seq);
    await expect(request(gateway, verifyAudit, {}, from(member)).catch(refusal)).resolves.toBe("policy-denied");
  });

  it("an answer goes to nobody's stream or key (attack 3)", async () => {
    const { lastSequence } = await streamState(jobs, "KV_jobs");
    const body = JSON.stringify(question());
    for (const reply of ["aether.audit.v0", "$KV.jobs.x", "aether.log.v0.x"]) {
      jobs.nats.publish("aether.v0.jobs.policy.decide", body, { reply });
    }
    const { decision_id } = await ask(jobs);
    const records = await storedRecords(room.nats); // parses every message of the stream
    expect(records.at(-1)?.id).toBe(decision_id);
    expect((await streamState(jobs, "KV_jobs")).lastSequence).toBe(lastSequence);
    expect(await openBucket(jobs, "jobs", z.unknown()).get("x")).toBeNull();
  });

  it("nobody decides for others than the services that may (attack 10)", async () => {
    await using worker = await room.nats.connect("worker-host-a");
    for (const [bus, operation] of [
      [gateway, decide],
      [worker, decide],
      [worker, checkPolicy],
      [worker, listAudit],
      [jobs, checkPolicy],
      [jobs, listAudit],
    ] as [Bus, Operation][]) {
      const failed = await request(bus, operation, {}, from(operator)).catch(refusal);
      expect([bus.user, operation.name, failed]).toEqual([bus.user, operation.name, "unavailable"]);
    }
    const asked = question({
      principal: operator,
      action: "read_audit",
      resource: { type: "Audit", id: "*", owner: null, labels: {} },
    });
    await expect(request(jobs, decide, asked, from(operator)).catch(refusal)).resolves.toBe("invalid-request");
  });

  it("policies are swapped when their files change, and kept when the new ones are not valid", async () => {
    const health = async () => (await request(gateway, healthOperation("policy"), {}, from(member))).reply.degraded;
    const file = join(room.policiesDir, "own.cedar");
    const version = async () => (await ask(jobs)).policy_version;
    const shipped = await version();
    writeFileSync(
      file,
      '@id("closed") @reason("closed for today") forbid (principal, action == Aether::Action::"submit_job", resource);',
    );
    await waitFor("the new policy", async () => (await ask(jobs)).reason === "closed for today");
    expect(await version()).not.toBe(shipped);
    writeFileSync(file, '@id("closed") @reason("r") forbid (principal, action, resource) when { resource.nothing };');
    await waitFor("the fault to be told", async () => (await health()).some((line) => /not valid/.test(line)));
    expect((await ask(jobs)).reason).toBe("closed for today");
    rmSync(file);
    await waitFor("the shipped policies", async () => (await version()) === shipped);
    expect(await health()).toEqual([]);
  });

  it("records carry the digest of what was decided", async () => {
    const digest = `sha256:${createHash("sha256").update("attempt 3").digest("hex")}`;
    const { decision_id } = await ask(jobs, { action: "start_job", context: { timeout_ms: 1, attempt: 3 }, digest });
    const record = (await storedRecords(room.nats)).find(({ id }) => id === decision_id);
    expect(record).toMatchObject({ action: "start_job", provenance: { digest } });
  });
});
