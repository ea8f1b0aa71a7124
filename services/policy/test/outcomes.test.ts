// Outcomes of jobs, exactly once, with the policy service as a process that is killed again and again.
import { createId } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { ask, openRoom, type Room, storedRecords } from "./_fixture.ts";
import { path, writer } from "./_jobs.ts";
import { kill, startProcess } from "./_process.ts";

const missing = requireBackend("nats");

describe.skipIf(missing)(`outcomes${missing ? `: ${missing}` : ""}`, () => {
  it("every transition is recorded once, in order, across SIGKILLs of the process", async () => {
    await using room = await openRoom();
    await using jobs = await room.nats.connect("jobs");
    const ids: string[] = [];
    const steps = writer(jobs);
    const length = async () => (await storedRecords(room.nats)).length;
    for (let round = 0; round < 4; round++) {
      const policy = startProcess(room);
      const before = await length();
      await waitFor("policy to begin", async () => (await length()) > before);
      const some = Array.from({ length: 60 }, () => createId("job"));
      ids.push(...some);
      const writing = writeAll(steps, some);
      await waitFor("policy to record", async () => (await length()) > before + 30);
      await kill(policy, "SIGKILL");
      await writing;
    }
    const policy = startProcess(room);
    const outcomes = await waitFor(
      "every outcome",
      async () => {
        const found = (await storedRecords(room.nats)).filter(({ kind }) => kind === "outcome");
        return found.length >= ids.length * path.length ? found : null;
      },
      20_000,
    );
    await waitFor("policy to answer", () => ask(jobs).catch(() => null));
    expect(await kill(policy, "SIGTERM")).toBe(0);
    const records = await storedRecords(room.nats);
    expect(records.filter(({ kind }) => kind === "outcome")).toHaveLength(ids.length * path.length);
    expect(records.at(-1)?.kind).toBe("writer.stop");
    for (const id of ids) {
      const own = outcomes.filter(({ job_id }) => job_id === id);
      expect(own.map(({ outcome }) => outcome?.to)).toEqual(path);
      expect(own.map(({ provenance }) => provenance.source?.sequence)).toEqual(steps.revisions.get(id));
    }
    expect(outcomes[0]).toMatchObject({ actor: { type: "Service", id: "jobs" }, action: "job.queued" });
  });

  it.each([
    ["in the stream", 2 ** 24],
    ["in segments", 1024],
  ])(
    "what happened while policy was down is recorded when it is back, the rest of the log being %s",
    async (_, bytes) => {
      await using room = await openRoom();
      const seal = { AETHER_POLICY_SEAL_BYTES: bytes };
      await using jobs = await room.nats.connect("jobs");
      const [early, late, ended] = [createId("job"), createId("job"), createId("job")];
      const steps = writer(jobs);
      await steps.next(early);
      await steps.next(late);
      {
        await using _policy = await room.start(seal);
        await waitFor("two outcomes", async () => (await outcomesOf(room)).length === 2);
      }
      // The records that policy sees next hold transitions from before and after it was away, at older and newer revisions.
      for (const id of [ended, ended, early, ended, late, ended, early, late]) await steps.next(id);
      {
        await using _policy = await room.start(seal);
        await waitFor("ten outcomes", async () => (await outcomesOf(room)).length === 10);
      }
      await steps.next(early);
      await using _policy = await room.start(seal);
      await waitFor("eleven outcomes", async () => (await outcomesOf(room)).length === 11);
      const found = await outcomesOf(room);
      for (const [id, count] of [
        [early, 4],
        [late, 3],
        [ended, 4],
      ] as const) {
        const own = found.filter(({ job_id }) => job_id === id).map(({ outcome }) => outcome?.to);
        expect(own).toEqual(path.slice(0, count));
      }
    },
  );
});

const outcomesOf = async (room: Room) => (await storedRecords(room.nats)).filter(({ kind }) => kind === "outcome");

/** Takes all jobs through all their transitions, some at a time. */
async function writeAll(steps: ReturnType<typeof writer>, ids: readonly string[]): Promise<void> {
  const open = [...ids];
  while (open.length > 0) {
    const some = open.splice(0, 4);
    await Promise.all(some.map((id) => steps.next(id)));
    open.push(...some.filter((id) => (steps.revisions.get(id)?.length ?? 0) < path.length));
  }
}
