// Quotas in the whole system: each instance a process that may be killed in the middle, bytes as they come over HTTP and out of
// jobs, and what the command line shows.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { isTerminal, ProblemError, type Quota } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";

const missing = requireBackend("nats");
const noSandbox = missing ?? requireBackend("bubblewrap");
const me = "user:0";
const small = { resources: { cpus: 0.1, memory: "32MiB" } };
const waiting = { command: ["true"], pool: "nobody", ...small };
const root = join(import.meta.dirname, "..");

const slugOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "accepted",
    (error: unknown) => (error instanceof ProblemError ? error.slug : "broken"),
  );

describe.skipIf(missing)(`quotas and processes that are killed${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  beforeAll(async () => {
    const environment = { AETHER_JOBS_PLACE_WITHOUT_JOB_MS: "1500" };
    aether = await startAether({
      ...{ worker: false, secondJobs: true, supervised: true },
      environment: { jobs: environment, jobs2: environment },
    });
    await aether.client.quotas.set(me, { jobs: 10 });
    await waitFor("both instances to know the limit", async () => {
      const seen = await Promise.all(Array.from({ length: 12 }, () => aether.client.quotas.get()));
      return seen.every(({ limits }) => limits.jobs === 10);
    });
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  const open = async () =>
    (await aether.client.jobs.list({ limit: 100 })).items.filter(({ state }) => !isTerminal(state));
  const used = async () => (await aether.client.quotas.get()).used.jobs;
  /** Ends all jobs, also one that a list does not show yet. */
  const endAll = () =>
    waitFor("nothing to be held", async () => {
      for (const { id } of await open()) await aether.client.jobs.kill(id);
      return (await used()) === 0;
    });

  it.each(["jobs", "jobs2"] as const)(
    "64 submits while %s is killed never make more than 10 jobs, and no place is lost",
    async (name) => {
      const given = new AbortController(); // what the killed one was asked is never answered
      const submits = Array.from({ length: 64 }, () =>
        slugOf(aether.client.jobs.submit(waiting, { signal: given.signal })),
      );
      await Promise.race(submits);
      await aether.programs[name].kill();
      await aether.ready();
      given.abort();
      const outcomes = await Promise.all(submits);
      const accepted = outcomes.filter((slug) => slug === "accepted").length;
      await waitFor("what is held to be what there is", async () => (await used()) === (await open()).length);
      const made = await open();
      expect(made.length).toBeLessThanOrEqual(10);
      expect(made.length).toBeGreaterThanOrEqual(accepted);
      const more: string[] = [];
      for (let i = made.length; i < 12; i++) more.push(await slugOf(aether.client.jobs.submit(waiting)));
      expect(more.filter((slug) => slug === "accepted")).toHaveLength(10 - made.length);
      expect(more.slice(-2)).toEqual(["too-many-requests", "too-many-requests"]);
      await waitFor("the list to show all ten", async () => (await open()).length === 10);
      await endAll();
    },
  );

  it("64 submits at once are 10 times 201 and 54 times 429", async () => {
    const outcomes = await Promise.all(Array.from({ length: 64 }, () => slugOf(aether.client.jobs.submit(waiting))));
    expect(outcomes.filter((slug) => slug === "accepted")).toHaveLength(10);
    expect(outcomes.filter((slug) => slug === "too-many-requests")).toHaveLength(54);
    await endAll();
  });

  it("places outlive nats-server and every instance at once", async () => {
    for (let i = 0; i < 3; i++) await aether.client.jobs.submit(waiting);
    await Promise.all([aether.programs.jobs.kill(), aether.programs.jobs2.kill(), aether.nats.restart()]);
    await waitFor("everything to be back", () => aether.ready().then(() => true), 30_000);
    expect(await waitFor("what is held to be told", used)).toBe(3);
    await endAll();
  });

  it("what a quota has refused is counted by its name", async () => {
    await Promise.all(Array.from({ length: 20 }, () => slugOf(aether.client.jobs.submit(waiting))));
    await waitFor("an instance that has refused to say so", async () => {
      const { services } = await aether.client.metrics();
      const refused = services.flatMap(({ metrics }) => metrics.filter(({ name }) => name === "aether.quota.refused"));
      return refused.some(({ points }) => points.some(({ attributes }) => attributes["aether.quota"] === "jobs"));
    });
    await endAll();
  });
});

describe.skipIf(noSandbox)(`quotas of bytes and of what runs${noSandbox ? `: ${noSandbox}` : ""}`, () => {
  let aether: Aether;
  beforeAll(async () => {
    aether = await startAether();
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  async function* bytesOf(count: number) {
    yield new Uint8Array(count);
  }
  const put = (count: number) => aether.client.artifacts.put(bytesOf(count), { name: "a", sizeBytes: count });
  const quota = (): Promise<Quota> => aether.client.quotas.get();

  it("artifacts have no more bytes than may be, however many are stored at once, and a deletion makes room", async () => {
    const first = await put(400);
    await aether.client.quotas.set(me, { artifacts: 1000 });
    await waitFor("the limit to hold", async () => (await slugOf(put(601))) === "too-many-requests");
    const refused = await put(601).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      problem: {
        status: 429,
        detail: "quota artifact_bytes: 1000 bytes are allowed, and with this there would be 1001",
      },
    });
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => slugOf(put(200))));
    expect(outcomes.filter((slug) => slug === "accepted")).toHaveLength(3);
    expect(outcomes.filter((slug) => slug === "too-many-requests")).toHaveLength(5);
    expect((await quota()).used.artifact_bytes).toBe(1000);
    expect(await slugOf(put(1))).toBe("too-many-requests");
    await aether.client.artifacts.delete(first.id);
    expect((await quota()).used.artifact_bytes).toBe(600);
    expect(await slugOf(put(400))).toBe("accepted");
  });

  it("a job whose outputs are too much for its owner ends at once and says so", async () => {
    const job = await aether.client.jobs.submit(
      { ...small, command: ["sh", "-c", "head -c 2000 /dev/zero >/outputs/a"] },
      { wait: "30s" },
    );
    expect(job).toMatchObject({ state: "failed", reason: "output_lost", artifacts: [] });
    expect(job.message).toContain("quota artifact_bytes: 1000 bytes are allowed");
    for (const { id } of (await aether.client.artifacts.list()).items) await aether.client.artifacts.delete(id);
    await aether.client.quotas.set(me, { artifacts: null });
  });

  it("jobs run one after the other where one may run", async () => {
    await aether.client.quotas.set(me, { running_jobs: 1 });
    const made = await Promise.all(
      Array.from({ length: 4 }, () => aether.client.jobs.submit({ ...small, command: ["true"] })),
    );
    const done = await Promise.all(made.map(({ id }) => aether.client.jobs.get(id, { wait: "30s" })));
    expect(done.map(({ state }) => state)).toEqual(Array(4).fill("succeeded"));
    const times = done.map(({ started_at, ended_at }) => [started_at ?? "", ended_at ?? ""] as const).sort();
    for (const [i, [startedAt]] of times.entries())
      if (i > 0) expect(startedAt >= (times[i - 1]?.[1] ?? "")).toBe(true);
    await aether.client.quotas.remove(me);
  });

  it("the command line sets, shows, lists and takes back", async () => {
    const cli = async (...args: string[]) => {
      const argv = [join(root, "apps/cli/src/main.ts"), "quota", ...args, "--socket", aether.socket];
      return (await promisify(execFile)(process.execPath, argv)).stdout;
    };
    const shown = await cli("set", "agent:aurora", "jobs=5", "memory=2GiB", "requests=2.5");
    expect(shown).toMatch(/^agent:aurora\n/);
    expect(shown).toMatch(/^jobs +0 +5 +set$/m);
    expect(shown).toMatch(/^memory +0 B +2\.0 GiB +set$/m);
    expect(shown).toMatch(/^artifacts +0 B +10\.0 GiB$/m);
    expect(shown).toMatch(/^requests +- +2\.5\/s +set$/m);
    expect(JSON.parse(await cli("show", "agent:aurora", "--json"))).toMatchObject({
      set: { jobs: 5, memory_bytes: 2 * 1024 ** 3, requests_per_second: 2.5 },
    });
    expect(await cli("set", "agent:aurora", "jobs=default")).toMatch(/^jobs +0 +100$/m);
    expect(await cli("ls")).toMatch(/^agent:aurora +0 of 100 /m);
    expect(await cli("show")).toMatch(/^user:0\n/);
    expect(JSON.parse(await cli("rm", "agent:aurora", "--json"))).toMatchObject({ set: {} });
    expect(await cli("ls")).not.toContain("agent:aurora");
    await expect(cli("set", "root", "gpus=1")).rejects.toMatchObject({ code: 2 });
    await expect(cli("set", "nobody-of-that-name", "jobs=1")).rejects.toMatchObject({ code: 2 });
  });
});
