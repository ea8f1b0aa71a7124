// Events that users emit, who sees what, and pages.
import { streamState } from "@aether/bus";
import { createId, limits, type Principal, ProblemError } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ada, ben, createWriter, openRoom, operator, path, type Room, storedEvents, writeAll } from "./_fixture.ts";

const missing = requireBackend("nats");

/** The slug of what a call was refused with. */
const refusal = (call: Promise<unknown>) =>
  call.then(
    () => "done",
    (error: unknown) => (error instanceof ProblemError ? error.slug : String(error)),
  );

describe.skipIf(missing)(`events${missing ? `: ${missing}` : ""}`, () => {
  let room: Room;
  let service: AsyncDisposable;
  beforeAll(async () => {
    room = await openRoom();
    service = await room.start();
  });
  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await room[Symbol.asyncDispose]();
  });

  it("come back as they were sent, with source, time and place set", async () => {
    const intentId = createId("int");
    const sent = { id: "1", source: "ci/build", subject: "main", data: { a: [1, null, "ü"] }, rank: 7, urgent: true };
    const event = await room.emit({ ...sent, dataschema: null }, ada, { intentId });
    expect(event).toMatchObject({ ...sent, source: "/user/1000/ci/build", intentid: intentId });
    expect(event).not.toHaveProperty("dataschema");
    expect(event.time).toMatch(/Z$/);
    expect(await room.read({ intent_id: intentId }, ada)).toEqual([event]);
    expect((await room.emit({ id: "2", source: null, data: null })).source).toBe("/user/1000");
    expect(await room.emit({ id: "3", data_base64: "AAEC" })).toMatchObject({ data_base64: "AAEC" });
  });

  it("are stored once for one source and id, and refused where they say something else", async () => {
    const first = await room.emit({ id: "same", data: 1 });
    expect(await room.emit({ id: "same", data: 1 })).toEqual(first);
    expect(await refusal(room.emit({ id: "same", data: 2 }))).toBe("conflict");
    const together = await Promise.all(Array.from({ length: 20 }, () => room.emit({ id: "together" })));
    expect(new Set(together.map(({ sequence }) => sequence)).size).toBe(1);
    expect((await room.emit({ id: "same", source: "elsewhere", data: 2 })).sequence).not.toBe(first.sequence);
  });

  it("cannot be forged, and cannot take the place of the system's or of another user's (attack 24)", async () => {
    const steps = createWriter(room.jobs, { owner: "user:1001" });
    const job = createId("job");
    await steps.next(job);
    const [revision = 0] = steps.revisions.get(job) ?? [];
    // What the next events of the job will be called can be guessed: the stream and sequences that follow.
    for (let ahead = 0; ahead < 8; ahead++) {
      const id = `KV_jobs:${revision + ahead}`;
      for (const source of ["/system/jobs", "system/jobs", "//system/jobs", "/user/1001"]) {
        const event = await room.emit({ id, source, jobid: job });
        expect(event.source).toMatch(/^\/user\/1000\//);
      }
    }
    expect(await refusal(room.emit({ type: "dev.aether.job.ended.v1" }))).toBe("invalid-request");
    for (const source of ["../1001", "..%2f1001", "a/%2e%2e/b", "a/./b", "a\\b", "a b", "", "x".repeat(257)]) {
      expect(await refusal(room.emit({ source })), source).toBe("invalid-request");
    }
    await room.emit({ id: "bens", data: "ada's" }, ada);
    const bens = await room.emit({ id: "bens", data: "ben's" }, ben);
    expect(bens).toMatchObject({ source: "/user/1001", data: "ben's" });
    for (let step = 1; step < path.length; step++) await steps.next(job);
    const told = await room.read({ job_id: job, source: "/system" }, ben);
    expect(told.map(({ id }) => id)).toEqual(steps.revisions.get(job)?.map((one) => `KV_jobs:${one}`));
    expect(await room.read({ source: "/system" }, ada)).toEqual([]);
    expect((await room.read({ job_id: job }, ben)).every(({ source }) => source === "/system/jobs")).toBe(true);
  });

  it.each([
    ["another version of the format", { specversion: "0.3" }],
    ["no id", { id: undefined }],
    ["an empty id", { id: "" }],
    ["an id with control characters", { id: "a\u0000b" }],
    ["half a character", { subject: "\ud800" }],
    ["a capital in a name", { camelCase: 1 }],
    ["a name of 21 letters", { abcdefghijklmnopqrstu: 1 }],
    ["the place, which is the system's", { sequence: "1" }],
    ["a number that is no integer", { rank: 1.5 }],
    ["an integer over 32 bits", { rank: 2 ** 31 }],
    ["an extension that is an object", { nested: { a: 1 } }],
    ["a time that is none", { time: "today" }],
    ["an intent that is none", { intentid: "int_1" }],
    ["a job that is none", { jobid: "job_1" }],
    ["data twice", { data: 1, data_base64: "AA==" }],
    ["bytes that are not base64", { data_base64: "%" }],
    ["more than an event may take", { data: "x".repeat(limits.eventBytes) }],
  ])("are refused with %s", async (_, fields) => {
    expect(await refusal(room.emit(fields as never))).toBe("invalid-request");
  });

  it("are shown to whom they are about, and to operators", async () => {
    const before = (await room.page({ tail: 0 })).reply.after;
    const steps = createWriter(room.jobs, { owner: "user:1001" });
    await steps.next(createId("job"));
    await room.emit({ id: "adas" }, ada);
    const sources = async (as: typeof ada) => (await room.read({ after: before }, as)).map(({ source }) => source);
    expect(await sources(ada)).toEqual(["/user/1000"]);
    expect(await sources(ben)).toEqual(["/system/jobs"]);
    expect((await sources(operator)).sort()).toEqual(["/system/jobs", "/user/1000"]);
    expect(await refusal(room.read({}, { type: "User", id: "65534", roles: [] }))).toBe("policy-denied");
    expect(await refusal(room.emit({}, { type: "User", id: "65534", roles: [] }))).toBe("policy-denied");
  });

  it("are found by type, source, job, intent and time, from the front and from the back", async () => {
    const [intentid, jobid] = [createId("int"), createId("job")];
    const from = (await room.page({ tail: 0 })).reply.after;
    await room.emit({ id: "f1", type: "com.example.a", source: "x", intentid });
    await room.emit({ id: "f2", type: "com.example.a.b", source: "x/y", jobid });
    const second = Date.now();
    const startedMs = await waitFor("the next millisecond", () => Date.now() > second + 1 && Date.now());
    await room.emit({ id: "f3", type: "com.example.ab", source: "xy", intentid, jobid });
    const ids = async (filter: object) => (await room.read({ after: from, ...filter })).map(({ id }) => id);
    expect(await ids({})).toEqual(["f1", "f2", "f3"]);
    expect(await ids({ type: ["com.example.a"] })).toEqual(["f1"]);
    expect(await ids({ type: ["com.example.a."] })).toEqual(["f2"]);
    expect(await ids({ type: ["com.example.ab", "com.example.a."] })).toEqual(["f2", "f3"]);
    expect(await ids({ source: "/user/1000/x" })).toEqual(["f1", "f2"]);
    expect(await ids({ source: "/user/1000/" })).toEqual(["f1", "f2", "f3"]);
    expect(await ids({ source: "/user/100" })).toEqual([]);
    expect(await ids({ intent_id: intentid })).toEqual(["f1", "f3"]);
    expect(await ids({ job_id: jobid, intent_id: intentid })).toEqual(["f3"]);
    expect(await ids({ since_ms: startedMs })).toEqual(["f3"]);
    expect(await ids({ since_ms: Date.now() + 60_000 })).toEqual([]);
    expect(await ids({ tail: 2 })).toEqual(["f2", "f3"]);
    expect(await ids({ tail: 1, type: ["com.example.a"] })).toEqual(["f1", "f2", "f3"].slice(0, 1));
    const { reply, events } = await room.page({ after: from, limit: 2 });
    expect(events.map(({ id }) => id)).toEqual(["f1", "f2"]);
    expect(reply.sequences).toEqual(events.map(({ sequence }) => Number(sequence)));
    expect(reply.after).toBe(reply.sequences[1]);
  });

  it("a page that waits is answered as soon as something comes that was asked for, and says how far it looked", async () => {
    const after = (await room.page({ tail: 0 })).reply.after;
    const waiting = room.page({ after, wait_ms: 8_000, type: ["com.example.wanted"] });
    await room.emit({ id: "w1" });
    await room.emit({ id: "w2", type: "com.example.wanted" });
    expect((await waiting).events.map(({ id }) => id)).toEqual(["w2"]);
    const { reply, events } = await room.page({ after, wait_ms: 50, type: ["com.example.unknown"] });
    expect(events).toEqual([]);
    expect(reply.after).toBeGreaterThanOrEqual(after + 2);
  });

  it("are cut into pages by their size", async () => {
    const from = (await room.page({ tail: 0 })).reply.after;
    const data = "x".repeat(60_000);
    for (let n = 0; n < 12; n++) await room.emit({ id: `big-${n}`, data });
    const first = await room.page({ after: from });
    expect(first.events.length).toBeLessThan(12);
    expect(await room.read({ after: from })).toHaveLength(12);
  });

  it("are the same for a service that comes back, and one with an empty view", async () => {
    const before = await room.read();
    await service[Symbol.asyncDispose]();
    service = await room.start();
    expect(await room.read()).toEqual(before);
    expect((await storedEvents(room.nats)).map(({ id }) => id)).toEqual(before.map(({ id }) => id));
  });
});

describe.skipIf(missing)("events that the stream has dropped", () => {
  it("are not listed any more", async () => {
    await using room = await openRoom({ storeBytes: 64 * 1024 * 1024 });
    const steps = createWriter(room.jobs);
    const service = await room.start();
    await writeAll(
      steps,
      Array.from({ length: 700 }, () => createId("job")),
      16,
    );
    await waitFor("every event", async () => (await room.read()).length === 2800);
    const data = "x".repeat(60_000);
    const users = Array.from(
      { length: 60 },
      (_, uid): Principal => ({ type: "User", id: `${uid}`, roles: ["member"] }),
    );
    for (const user of users) await refusal(room.emit({ data }, user));
    await using bus = await room.nats.connect("events");
    const dropped = (await streamState(bus, "EVENTS")).firstSequence - 1;
    expect(dropped).toBeGreaterThan(0);
    await service[Symbol.asyncDispose]();
    await using _service = await room.start();
    await waitFor("the list to begin where the stream does", async () => {
      const [first] = await room.read({ limit: 1 });
      return Number(first?.sequence) > dropped;
    });
    expect(await room.read({ source: "/system", after: dropped })).toHaveLength(2800 - dropped);
  });
});

describe.skipIf(missing)("the room of emitted events", () => {
  it("is bounded for each user, and the system's events keep theirs", async () => {
    await using room = await openRoom({ storeBytes: 128 * 1024 * 1024 });
    await using _service = await room.start();
    const steps = createWriter(room.jobs);
    await steps.next(createId("job"));
    const data = "x".repeat(60_000);
    let stored = 0;
    const refused = await waitFor(
      "a refusal",
      async () => {
        try {
          await Promise.all(Array.from({ length: 8 }, () => room.emit({ data }).then(() => stored++)));
          return null;
        } catch (error) {
          return error instanceof ProblemError ? error : null;
        }
      },
      30_000,
    );
    expect(refused.slug).toBe("too-many-requests");
    expect(stored * 60_000).toBeGreaterThan((128 * 1024 * 1024 * 0.05) / 10);
    expect(stored * 60_000).toBeLessThan((128 * 1024 * 1024 * 0.05) / 4);
    await room.emit({ id: "still" }, ben);
    expect(await room.read({ source: "/system" })).toHaveLength(1);
  });
});
