// Derived events, exactly once: with the service as a process that is killed again and again, away, or there twice.
import { appendMessage, eraseMessage, openLedger } from "@aether/bus";
import { createId, principalName } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { ada, ben, createWriter, kill, openRoom, path, storedEvents, writeAll } from "./_fixture.ts";

const missing = requireBackend("nats");
const types = ["submitted", "starting", "started", "ended"].map((verb) => `dev.aether.job.${verb}.v1`);

describe.skipIf(missing)(`derived events${missing ? `: ${missing}` : ""}`, () => {
  it("no state change is without its event, and none has two, across SIGKILLs of the service", async () => {
    await using room = await openRoom();
    const steps = createWriter(room.jobs);
    const ids: string[] = [];
    const count = async () => (await storedEvents(room.nats)).length;
    for (let round = 0; round < 4; round++) {
      const service = room.startProcess();
      const before = await count();
      const some = Array.from({ length: 60 }, () => createId("job"));
      ids.push(...some);
      const writing = writeAll(steps, some);
      await waitFor("events to come", async () => (await count()) > before + 30);
      await kill(service, "SIGKILL");
      await writing;
    }
    const service = room.startProcess();
    await waitFor("every event", async () => (await count()) >= ids.length * path.length, 20_000);
    expect(await kill(service, "SIGTERM")).toBe(0);
    const events = await storedEvents(room.nats);
    expect(events).toHaveLength(ids.length * path.length);
    expect(new Set(events.map(({ id, source }) => `${source} ${id}`)).size).toBe(events.length);
    for (const id of ids) {
      const own = events.filter(({ jobid }) => jobid === id);
      expect(own.map(({ type }) => type)).toEqual(types);
      expect(own.map((event) => event.id)).toEqual(steps.revisions.get(id)?.map((revision) => `KV_jobs:${revision}`));
    }
  });

  it("is stored once when nats-server is killed in between", async () => {
    await using room = await openRoom();
    await using _service = await room.start();
    const steps = createWriter(room.jobs);
    const ids = Array.from({ length: 20 }, () => createId("job"));
    for (let step = 0; step < path.length; step++) {
      for (const id of ids) await steps.next(id);
      await room.nats.restart();
      await waitFor("the bus to be back", () => room.jobs.connected);
    }
    const all = ids.length * path.length;
    await waitFor("every event", async () => (await storedEvents(room.nats)).length >= all, 20_000);
    expect((await room.read()).map(({ id }) => id)).toHaveLength(all);
    expect(new Set((await room.read()).map(({ id }) => id)).size).toBe(all);
  });

  it("what happened while the service was away is told when it is back, also what the bucket no longer holds", async () => {
    await using room = await openRoom();
    const [early, late, ended] = [createId("job"), createId("job"), createId("job")];
    const steps = createWriter(room.jobs);
    await steps.next(early);
    await steps.next(late);
    {
      await using _service = await room.start();
      expect(await room.read()).toHaveLength(2);
    }
    // The records that are seen next hold transitions from before and after, at older and newer revisions.
    for (const id of [ended, ended, early, ended, late, ended, early, late]) await steps.next(id);
    {
      await using _service = await room.start();
      expect(await room.read()).toHaveLength(10);
    }
    await steps.next(early);
    await using _service = await room.start();
    const events = await room.read();
    expect(events).toHaveLength(11);
    for (const [id, count] of [
      [early, 4],
      [late, 3],
      [ended, 4],
    ] as const) {
      expect(events.filter(({ jobid }) => jobid === id).map(({ type }) => type)).toEqual(types.slice(0, count));
    }
  });

  it("two instances store each event once", async () => {
    await using room = await openRoom();
    const [one, other] = [room.startProcess(), await room.start()];
    await using _other = other;
    const steps = createWriter(room.jobs);
    const ids = Array.from({ length: 50 }, () => createId("job"));
    await writeAll(steps, ids);
    await waitFor("every event", async () => (await storedEvents(room.nats)).length >= ids.length * path.length);
    await kill(one, "SIGTERM");
    expect(await storedEvents(room.nats)).toHaveLength(ids.length * path.length);
  });

  it("says what happened, to what, when, and how it ended", async () => {
    await using room = await openRoom();
    await using _service = await room.start();
    const intent = createId("int");
    const steps = createWriter(room.jobs, { intent_id: intent });
    const id = createId("job");
    for (const _ of path) await steps.next(id);
    const events = await room.read({ intent_id: intent });
    expect(events.at(-1)).toEqual({
      specversion: "1.0",
      id: `KV_jobs:${steps.revisions.get(id)?.at(-1)}`,
      source: "/system/jobs",
      type: "dev.aether.job.ended.v1",
      subject: id,
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      datacontenttype: "application/json",
      intentid: intent,
      jobid: id,
      data: { state: "succeeded", previous_state: "running", reason: null, attempt: 1, exit_code: 0, signal: null },
      sequence: "000000000004",
    });
  });

  it("what was made and removed while the service was away is told, of artifacts and of memory, without their words", async () => {
    await using room = await openRoom();
    await using artifacts = await room.nats.connect("artifacts");
    await using memory = await room.nats.connect("memory");
    const intent_id = createId("int");
    const made = { owner: "user:1000", intent_id, job_id: null, created_at: new Date().toISOString() };
    const art = createId("art");
    const artifact = { ...made, id: art, name: "grün.txt", type: "text/plain", size_bytes: 2, sha256: "ab" };
    const ledger = await openLedger(artifacts, "artifacts");
    const put = await ledger.put(art, artifact);
    const removed = await ledger.remove(art, { value: artifact, revision: put });

    const mem = createId("mem");
    const subject = `aether.memory.v0.ada.${mem}`;
    const write = (record: object, after: number) =>
      appendMessage(memory, subject, Buffer.from(JSON.stringify(record)), after);
    const facts = { kind: "note", trust: "user", ...made };
    const named = { id: mem, owner: "user:1000", supersedes: null };
    const added = await write({ type: "entry", ...named, ...facts, text: "a secret" }, 0);
    const forgetting = { forgotten_at: new Date().toISOString(), forgotten_by: "user:1000" };
    const buried = await write(
      { type: "forgotten", ...named, ...forgetting, entry: { ...facts, sequence: added } },
      added,
    );
    await eraseMessage(memory, "MEMORY", added);

    await using _service = await room.start();
    const events = await room.read({ intent_id });
    expect(events.map(({ id, type, subject }) => [id, type, subject])).toEqual(
      expect.arrayContaining([
        [`KV_artifacts:${put}`, "dev.aether.artifact.created.v1", art],
        [`KV_artifacts:${removed}`, "dev.aether.artifact.deleted.v1", art],
        [`MEMORY:${added}`, "dev.aether.memory.added.v1", mem],
        [`MEMORY:${buried}`, "dev.aether.memory.forgotten.v1", mem],
      ]),
    );
    expect(events).toHaveLength(4);
    expect(JSON.stringify(events)).not.toContain("secret");
    expect(events.find(({ type }) => type.includes("artifact.deleted"))?.data).toEqual({
      ...{ name: "grün.txt", type: "text/plain", size_bytes: 2, sha256: "ab" },
    });
  });

  it("an artifact that is removed after its event is told once more, and only that", async () => {
    await using room = await openRoom();
    await using artifacts = await room.nats.connect("artifacts");
    await using _service = await room.start();
    const ledger = await openLedger(artifacts, "artifacts");
    const id = createId("art");
    const value = {
      ...{ id, owner: "user:1000", name: "a", type: "text/plain", size_bytes: 1, sha256: "ab", job_id: null },
      ...{ intent_id: null, created_at: new Date().toISOString() },
    };
    const revision = await ledger.put(id, value);
    await waitFor("its event", async () => (await room.read()).length === 1);
    await ledger.remove(id, { value, revision });
    await waitFor("its end", async () => (await room.read()).length === 2);
    expect((await room.read()).map(({ type }) => type.split(".")[3])).toEqual(["created", "deleted"]);
  });

  it("an approval is told to the person whom its asker works for: asked, answered, used", async () => {
    await using room = await openRoom();
    await using policy = await room.nats.connect("policy");
    await using _service = await room.start();
    const ledger = await openLedger(policy, "approvals");
    const [id, job_id, at] = [createId("apr"), createId("job"), new Date().toISOString()];
    const asked = {
      ...{ id, state: "pending", action: "start_job", ask: "May it run?", intent_id: null, created_at: at },
      requester: { principal: "agent:aurora", uid: 61_001, owner: principalName(ada) },
      subjects: [{ subject: job_id, job_id, at }],
      ...{ answered_at: null, answered_by: null, answer: null, grant_id: null, uses: [], preview: "not told" },
    };
    const yes = { ...asked, state: "approved", answered_at: at, answered_by: "user:0", answer: "allow_once" };
    const step = async (record: object, count: number) => {
      const revision = await ledger.put(id, record);
      await waitFor("its event", async () => (await room.read()).length === count);
      return revision;
    };
    const joined = { ...asked, subjects: [...asked.subjects, { subject: "req_x", job_id: null, at }] };
    const revisions = [await step(asked, 1), await step(joined, 2), await step(yes, 3)];
    revisions.push(await step({ ...yes, state: "used", uses: [{ subject: job_id, attempt: 1, at }] }, 4));
    const events = await room.read({}, ada);
    expect(events.map((event) => event.id)).toEqual(revisions.map((revision) => `KV_approvals:${revision}`));
    expect(events.map(({ type }) => type.split(".")[3])).toEqual(["requested", "joined", "approved", "used"]);
    expect(events[2]).toMatchObject({
      ...{ source: "/system/approvals", subject: id, jobid: job_id },
      data: {
        state: "approved",
        requester: "agent:aurora",
        answered_by: "user:0",
        answer: "allow_once",
        jobs: [job_id],
      },
    });
    expect(JSON.stringify(events)).not.toContain("not told");
    expect(await room.read({}, ben)).toEqual([]);
  });

  it("a record that cannot be read is passed over, and what comes after it is told", async () => {
    await using room = await openRoom();
    await using _service = await room.start();
    await room.jobs.js.publish("$KV.jobs.broken", "{");
    const steps = createWriter(room.jobs);
    await steps.next(createId("job"));
    expect(await room.read()).toHaveLength(1);
  });
});
