// What people have said survives the policy service: killed in the middle again and again, and with a second one beside it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type Bus, openBucket } from "@aether/bus";
import {
  Approval,
  answerApproval,
  createId,
  type DecideReply,
  listApprovals,
  listGrants,
  setHumanSecret,
} from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { agent, answer, askStart, callAs, read, refusal, type Start } from "./_approvals.ts";
import { ask, member, openRoom, operator, type Room, storedRecords } from "./_fixture.ts";

const missing = requireBackend("nats");
const secret = "correct horse battery";

describe.skipIf(missing)(`approvals across crashes${missing ? `: ${missing}` : ""}`, () => {
  it("everything that was told is there after a kill -9: questions, answers, uses, grants, secrets", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    await using gateway = await room.nats.connect("gateway");
    let policy = await startProcess(room, jobs);
    const [used, unused, asked, always] = ["used", "unused", "asked", "always"].map((what) => ({
      what,
      job: createId("job"),
      ...(what === "always" && { principal: { ...agent, id: "bot" } }),
    })) as [Start, Start, Start, Start];
    for (const [begun, option] of [
      [used, "allow_once"],
      [unused, "allow_once"],
      [always, "allow_always"],
    ] as const) {
      await answer(gateway, member, idOf(await askStart(jobs, begun)), option);
    }
    const id = idOf(await askStart(jobs, asked));
    expect((await askStart(jobs, used)).outcome).toBe("allow");
    await callAs(gateway, member, setHumanSecret, { secret });
    const before = await callAs(gateway, operator, listApprovals, {});
    await kill(policy, "SIGKILL");
    policy = await startProcess(room, jobs);
    const after = await callAs(gateway, operator, listApprovals, {});
    expect(after.items).toEqual(before.items);
    // The same attempt asks again, as after a crash of jobs; another job does not ride on it.
    expect((await askStart(jobs, used)).outcome).toBe("allow");
    expect((await askStart(jobs, { ...used, job: createId("job") })).outcome).toBe("ask");
    expect((await askStart(jobs, unused)).outcome).toBe("allow");
    expect(await askStart(jobs, asked)).toMatchObject({ outcome: "ask", approval_id: id });
    const granted = await askStart(jobs, { ...always, what: "something like it", job: createId("job") });
    expect(granted).toMatchObject({ outcome: "allow", approval_id: null });
    expect(await refusal(callAs(gateway, member, setHumanSecret, { secret: "another one" }))).toMatch(/^403/);
    await kill(policy, "SIGTERM");
    policy = await startProcess(room, jobs);
    expect((await callAs(gateway, operator, listGrants, {})).items).toMatchObject([{ uses: 1 }]);
    // Whoever follows the bucket reads the same.
    const { value } = (await openBucket(jobs, "approvals", Approval).get(id)) ?? {};
    expect(value).toEqual(await read(gateway, operator, id));
    await kill(policy, "SIGTERM");
  });

  it("killed at random moments under load: no yes is used twice, nothing is allowed without its record", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    await using gateway = await room.nats.connect("gateway");
    const allowed: DecideReply[] = [];
    for (let round = 0; round < 4; round++) {
      const policy = await startProcess(room, jobs);
      const load = { ended: false };
      const callers = Array.from({ length: 8 }, async (_, caller) => {
        for (let n = 0; !load.ended; n++) {
          await useOnce(`${round}.${caller}.${n}`).catch(() => {});
        }
      });
      const enough = allowed.length + 10 + Math.floor(Math.random() * 40);
      await waitFor("some to be allowed", () => allowed.length >= enough, 20_000);
      await kill(policy, "SIGKILL");
      load.ended = true;
      await Promise.all(callers);
    }
    const policy = await startProcess(room, jobs);
    const uses = new Map<string, string[]>();
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page: { items: Approval[]; next_cursor: string | null } = await callAs(gateway, operator, listApprovals, {
        ...{ limit: 500, ...(cursor && { cursor }) },
      });
      for (const { id, uses: used } of page.items)
        uses.set(
          id,
          used.map(({ subject }) => subject),
        );
      cursor = page.next_cursor;
    }
    await kill(policy, "SIGTERM");
    const records = new Map((await storedRecords(room.nats)).map((record) => [record.id, record]));
    const byApproval = Map.groupBy(allowed, ({ approval_id }) => approval_id);
    for (const [id, replies] of byApproval) {
      expect(uses.get(id ?? "")).toHaveLength(1);
      const told = replies.map(({ decision_id }) => records.get(decision_id ?? ""));
      for (const record of told) expect(record).toMatchObject({ decision: { outcome: "allow", approval: id } });
      expect(told.map((record) => record?.provenance.request_id)).toHaveLength(1);
    }
    expect(byApproval.size).toBe(allowed.length);

    /** A request of which there is one yes, repeated by two at once. */
    async function useOnce(what: string): Promise<void> {
      const operation = { kind: "operation" as const, words: what, operation: "x", request: {} };
      const repeat = () => {
        const subject = createId("req");
        const context = { network: "none", cpus_milli: 8000 };
        const request = { subject, mode: "consume" as const, preview: operation };
        const principal = { ...agent, id: `bot${what.split(".")[1]}` };
        const resource = { type: "Job" as const, id: "*", owner: `agent:${principal.id}`, labels: {} };
        return ask(jobs, { principal, action: "start_job", resource, context, digest: what, ask: request });
      };
      const { approval_id } = await repeat();
      const yes = { id: approval_id ?? "", option: "allow_once" as const, digest: what };
      await callAs(gateway, operator, answerApproval, yes, 1000);
      const replies = await Promise.allSettled([repeat(), repeat()]);
      for (const reply of replies) {
        if (reply.status === "fulfilled" && reply.value.outcome === "allow") allowed.push(reply.value);
      }
    }
  });

  it("a second policy takes over: the first allows nothing more, and no yes serves twice", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    await using gateway = await room.nats.connect("gateway");
    const first = await room.start();
    const begun = Array.from({ length: 40 }, (_, n) => ({ what: `two ${n}`, job: createId("job") }));
    for (const one of begun) await answer(gateway, operator, idOf(await askStart(jobs, one)), "allow_once");
    // Each is started by two jobs, while the second instance begins; whoever is asked, at most its own job may.
    const second = startBeside(room);
    const racing = begun.flatMap((one) =>
      [one, { ...one, job: createId("job") }].map((start) => ({ start, own: start === one })),
    );
    const replies = await Promise.all(
      racing.map(async ({ start, own }) => ({ own, reply: await askStart(jobs, start).catch(() => null) })),
    );
    await using _second = await second;
    let replaced = "";
    void first.superseded.then((reason) => {
      replaced = reason;
    });
    await waitFor("the first to notice, which it does when it is asked", async () => {
      await askStart(jobs, { what: "anything" }).catch(() => null);
      return replaced !== "";
    });
    expect(replaced).toMatch(/another/);
    await first[Symbol.asyncDispose]();
    expect(replies.filter(({ own, reply }) => !own && reply?.outcome === "allow")).toEqual([]);
    for (const one of begun) expect((await askStart(jobs, one)).outcome).toBe("allow");
    const approvals = (await callAs(gateway, operator, listApprovals, { state: ["used"], limit: 500 })).items;
    expect(approvals).toHaveLength(begun.length);
    for (const { uses } of approvals) expect(uses).toHaveLength(1);
    const records = await storedRecords(room.nats);
    expect(records.map(({ seq }) => seq)).toEqual(records.map((_, index) => index + 1));
  });

  it("a question is withdrawn when its job has ended", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    await using gateway = await room.nats.connect("gateway");
    await using _policy = await room.start();
    const [one, two] = [createId("job"), createId("job")];
    const id = idOf(await askStart(jobs, { what: "same", job: one }));
    await askStart(jobs, { what: "same", job: two });
    const end = (job: string) =>
      openBucket<unknown>(jobs, "jobs", Approval).create(job, {
        ...{ id: job, owner: "agent:aurora", intent_id: null },
        transitions: [
          { from: null, to: "killed", reason: "requested", attempt: 0, at: new Date().toISOString(), after: 0 },
        ],
      });
    await end(one);
    await waitFor("one to be out of it", async () => (await read(gateway, operator, id)).subjects.length === 1);
    expect((await read(gateway, operator, id)).state).toBe("pending");
    await end(two);
    await waitFor("nobody to wait", async () => (await read(gateway, operator, id)).state === "cancelled");
  });
});

/** Begins until it has: while the other one writes, its first record may come too late. */
async function startBeside(room: Room): ReturnType<Room["start"]> {
  return waitFor("the second to begin", () => room.start().catch(() => null), 20_000);
}

function idOf({ approval_id }: DecideReply): string {
  return approval_id ?? "";
}

/** Starts it and waits until it answers. */
async function startProcess(room: Room, jobs: Bus): Promise<ChildProcess> {
  const main = join(import.meta.dirname, "../src/main.ts");
  const { AETHER_OPERATORS: _operators, ...config } = room.config();
  const environment = Object.entries(config).map(([name, value]) => [name, String(value)]);
  const policy = spawn(process.execPath, [main], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...Object.fromEntries(environment), AETHER_LOG_FILE: join(room.folder, "policy.log") },
  });
  await waitFor("policy to answer", () => ask(jobs, {}, 500).catch(() => null), 20_000);
  return policy;
}

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}
