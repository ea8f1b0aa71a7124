// What becomes of jobs when a worker or an instance of the jobs service is gone.
import { getJob, readLogs, submitJob } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ended, type Fixture, running, startFixture } from "./_fixture.ts";

const missing = requireBackend("nats");
const spec = { command: ["true"], resources: { cpus: 1, memory: "64MiB" } };

describe.skipIf(missing)(`jobs after a loss${missing ? `: ${missing}` : ""}`, () => {
  let fixture: Fixture;
  beforeAll(async () => {
    fixture = await startFixture({ AETHER_JOBS_WORKER_GONE_MS: "3000" });
    await fixture.startJobs();
    await fixture.startJobs();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());
  const get = (id: string) => fixture.call(getJob, { id });

  it("a silent worker's starting job runs elsewhere, its running job is lost, and nothing late fits", async () => {
    const silent = await fixture.worker("host-a");
    await silent.renew();
    const [one, two] = [await fixture.call(submitJob, spec), await fixture.call(submitJob, spec)];
    const claims = [...(await silent.claim({ max: 1 })), ...(await silent.claim({ max: 1 }))];
    const started = claims.find((claim) => claim.job_id === two.id);
    if (!started) throw new Error("not claimed");
    await silent.report(started, running);
    await silent.log(started, 1, ["before the silence"]);
    await waitFor("the running job to be lost", async () => (await get(two.id)).state === "lost");
    expect(await get(two.id)).toMatchObject({ reason: "worker_lost", logs: { last_seq: 2, truncated: true } });
    await waitFor("the starting job to be queued again", async () => (await get(one.id)).state === "queued");
    await expect(silent.renew()).rejects.toMatchObject({ slug: "conflict" });
    await expect(silent.log(started, 2, ["too late"])).rejects.toMatchObject({ slug: "conflict" });
    await expect(silent.report(started, ended(0, 1))).resolves.toBe("lost");
    const page = await fixture.call(readLogs, { id: two.id });
    expect(page.batches.at(-1)?.segments).toEqual([
      { t: expect.any(Number), x: { reason: "worker_lost", lines: null, bytes: null } },
    ]);
    expect(page.eof).toMatchObject({ state: "lost", last_seq: 2 });

    const next = await fixture.worker("host-b");
    await next.renew();
    const [again] = await next.claim();
    expect(again).toMatchObject({ job_id: one.id, attempt: 2 });
    if (!again) return;
    await next.report(again, running);
    await next.report(again, ended(0));
    expect(await get(one.id)).toMatchObject({ state: "succeeded", attempt: 2 });
    await next.renew([], { leaving: true });
  });

  it("a newer incarnation of a host takes the place of the older one at once", async () => {
    const old = await fixture.worker("host-a");
    await old.renew();
    const job = await fixture.call(submitJob, {
      ...spec,
      retry: { max_attempts: 2, on: ["lost"], backoff: { initial: "1ms" } },
    });
    const [claim] = await old.claim();
    if (!claim) throw new Error("not claimed");
    await old.report(claim, running);
    const fresh = await fixture.worker("host-a");
    await fresh.renew();
    await expect(old.renew()).rejects.toMatchObject({ slug: "conflict" });
    const [again] = await waitFor("the second attempt", async () => {
      const claims = await fresh.claim({ waitMs: 200 });
      return claims.length > 0 && claims;
    });
    expect(again).toMatchObject({ job_id: job.id, attempt: 2, log: { last_seq: 1 } });
    if (!again) return;
    await fresh.report(again, running);
    await fresh.report(again, ended(0, 1));
    expect(await get(job.id)).toMatchObject({ state: "succeeded" });
    await fresh.renew([], { leaving: true });
  });

  it("a renewal during a restart of nats-server is heard afterwards, and nobody is taken for gone", async () => {
    const worker = await fixture.worker("host-b");
    await worker.renew();
    const job = await fixture.call(submitJob, spec);
    const [claim] = await worker.claim();
    if (!claim) throw new Error("not claimed");
    await worker.report(claim, running);
    await fixture.nats.restart();
    await waitFor(
      "a renewal",
      async () => (await worker.renew([{ job_id: job.id, attempt: 1, stopping: null }])).length === 0,
    );
    expect(await waitFor("the gateway to be back", () => get(job.id))).toMatchObject({ state: "running" });
    expect(await worker.report(claim, ended(0))).toBe("succeeded");
  });
});
