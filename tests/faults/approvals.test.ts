// People answer while policy and both instances of jobs are killed again and again: every job that was said yes to runs, once and
// as the attempt that the yes names; none that was said no to is ever seen to execute.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bus, request } from "@aether/bus";
import {
  type AnswerKind,
  type Approval,
  answerApproval,
  createId,
  getApproval,
  isTerminal,
  type Job,
  type Operation,
  type Principal,
  submitJob,
} from "@aether/contracts";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { type Aether, type ProgramName, startAether } from "../_aether.ts";
import { openWitness } from "../_checker.ts";
import { passes } from "./_round.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const killsCount = 9;
const asker: Principal = { type: "User", id: "41001", uid: 41_001, roles: ["member"] };
const person: Principal = { type: "User", id: "0", uid: 0, roles: ["operator"] };
const patienceMs = 3_000;
const policy = `
@id("all-need-a-yes")
@reason("every job needs a person's yes")
@ask("May it run?")
forbid (principal, action == Aether::Action::"start_job", resource)
unless { context has approval };
`;

describe.skipIf(missing)(`answers under kills${missing ? `: ${missing}` : ""}`, () => {
  it("each yes is one run and each no is none, however often policy and jobs die meanwhile", async () => {
    using policies = tempDir();
    mkdirSync(policies.path, { recursive: true });
    writeFileSync(join(policies.path, "own.cedar"), policy);
    await using aether = await startAether({
      ...{ supervised: true, secondJobs: true },
      environment: { policy: { AETHER_POLICY_OWN_POLICIES_DIR: policies.path } },
    });
    await using gateway = await aether.connect("gateway");
    await using witness = await openWitness(aether);
    const said = new Map<string, AnswerKind>();
    const killing = { over: false, jobs: 0 };
    const lane = async () => {
      while (!killing.over) {
        const i = killing.jobs++;
        const job = await submitUntilAccepted(gateway, i);
        const option = i % 3 === 0 ? "reject_once" : "allow_once";
        await answerUntilHeard(gateway, job.approval_id ?? "", option);
        said.set(job.id, option);
        await passes(300 * Math.random());
      }
    };
    const lanes = Array.from({ length: 6 }, lane);
    await killAgain(aether, ["policy", "jobs", "jobs2"], killsCount);
    killing.over = true;
    await Promise.all(lanes);
    expect(new Set(said.values()).size).toBe(2);
    await waitFor(
      "every job to end",
      () => [...said.keys()].every((id) => isTerminal(witness.job(id)?.state ?? "queued")),
      60_000,
    );
    for (const [id, option] of said) {
      const job = await aether.client.jobs.get(id);
      const approval = await aether.client.approvals.get(job.approval_id ?? "");
      expect([id, job.state, approval.state]).toEqual(
        option === "allow_once" ? [id, "succeeded", "used"] : [id, "denied", "denied"],
      );
      expect(job.attempts).toHaveLength(option === "allow_once" ? 1 : 0);
      // An attempt that was never released is asked about under the next number; each is one use of the same yes.
      expect(approval.uses.map(({ subject }) => subject)).toEqual(approval.uses.map(() => id));
      expect(approval.uses.at(-1)?.attempt ?? 0).toBe(job.attempt);
      if (option === "reject_once") expect(witness.hasExecuted(id, 1)).toBe(false);
    }
    expect(witness.faults).toEqual([]);
    expect((await aether.client.audit.verify()).state).toBe("intact");
  }, 180_000);
});

/** Kills one after the other, each when all are back for a moment. */
async function killAgain(aether: Aether, names: ProgramName[], times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    await aether.ready();
    await passes(600 * Math.random());
    await aether.programs[names[i % names.length] ?? "policy"].kill();
  }
}

/** The same key each time: the same job. */
function submitUntilAccepted(gateway: Bus, i: number): Promise<Job> {
  const spec = { command: ["echo", `${i}`], resources: { cpus: 0.25, memory: "64MiB", disk: "16MiB" } };
  return until(() => ask(gateway, submitJob, spec, { principal: asker, idempotency_key: `job-${i}` }));
}

/** A person who presses again until he sees that it was heard: the second press may find the first one's answer. */
function answerUntilHeard(gateway: Bus, id: string, option: AnswerKind): Promise<Approval> {
  return until(async () => {
    const approval = await ask(gateway, getApproval, { id }, { principal: person });
    if (approval.answer === option) return approval;
    return ask(gateway, answerApproval, { id, digest: approval.digest, option }, { principal: person });
  });
}

/** As the gateway asks, but with less patience: who was asked may be dead. */
async function ask<In extends z.ZodType, Out extends z.ZodType>(
  gateway: Bus,
  operation: Operation<In, Out>,
  input: z.input<In>,
  who: { principal: Principal; idempotency_key?: string },
): Promise<z.infer<Out>> {
  const envelope = { request_id: createId("req"), ...who };
  return (await request(gateway, operation, input, { envelope, timeoutMs: patienceMs })).reply;
}

/** Again until it is answered, whatever goes wrong meanwhile. */
async function until<T>(act: () => Promise<T>): Promise<T> {
  const { value } = await waitFor("an answer", async () => ({ value: await act() }), 60_000);
  return value;
}
