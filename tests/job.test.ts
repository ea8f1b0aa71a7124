// The main path, whole: a job over the socket, in a real sandbox, with its log, its record and its audit trail.
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");

describe.skipIf(missing)(`a job, end to end${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  beforeAll(async () => {
    aether = await startAether();
  }, 60_000);
  afterAll(() => aether[Symbol.asyncDispose]());

  it("computes, streams, ends with its exit code, and every step is on record", async () => {
    const { client } = aether;
    const job = await client.jobs.submit({
      command: ["sh", "-c", "echo $((6*7)); echo oops >&2; exit 3"],
      resources: { cpus: 1, memory: "64MiB" },
    });
    const frames = [];
    for await (const frame of client.jobs.logs(job.id, { follow: true })) frames.push(frame);
    expect(frames).toMatchObject([
      { seq: expect.any(Number), attempt: 1, data: expect.stringMatching(/42|oops/) },
      { seq: 2, attempt: 1 },
      { type: "eof", last_seq: 2, state: "failed", reason: "exit_nonzero", exit_code: 3 },
    ]);
    const done = await client.jobs.get(job.id);
    expect(done).toMatchObject({
      state: "failed",
      exit_code: 3,
      driver: "bubblewrap",
      worker: "host-a",
      owner: "user:0",
    });
    expect(done.usage?.cpu_ms).toBeGreaterThanOrEqual(0);
    const actions = await waitFor("the outcome to be on record", async () => {
      const records = (await client.audit.list({ job_id: job.id })).items.filter((record) => record.kind !== "summary");
      const names = records.map((record) => record.action).reverse();
      return names.includes("job.failed") && names;
    });
    expect(actions.filter((action) => !action.startsWith("job."))).toEqual(["submit_job", "start_job"]);
    expect(actions.filter((action) => action.startsWith("job."))).toEqual([
      "job.queued",
      "job.starting",
      "job.running",
      "job.failed",
    ]);
    expect(await client.audit.verify()).toMatchObject({ state: "intact", faults: [] });
  });
});
