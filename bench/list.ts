// A page of jobs when there are a thousand, and when there are a hundred thousand.
import { openBucket } from "@aether/bus";
import { createId, JobSpec } from "@aether/contracts";
import { waitFor } from "@aether/testkit";
import { accept, StoredJob } from "../services/jobs/src/job.ts";
import { startAether } from "../tests/_aether.ts";
import { type Figure, rate, time } from "./measure.ts";

export async function benchList(): Promise<Figure[]> {
  await using aether = await startAether({ worker: false });
  await using jobs = await aether.connect("jobs");
  const bucket = openBucket(jobs, "jobs", StoredJob);
  const spec = JobSpec.parse({ command: ["true"], pool: "bench" });
  let newest = "";
  const make = () => {
    const job = accept(
      { id: createId("job"), owner: "user:0", spec, digest: "", intentId: null, inputs: [], policyVersion: null },
      new Date(),
    );
    newest = job.id > newest ? job.id : newest;
    return bucket.create(job.id, { ...job, state: "succeeded", ended_at: job.created_at });
  };
  const page = () => aether.client.jobs.list({ limit: 50 });
  const fill = async (count: number) => {
    let revision = 0;
    await rate(count, 256, async () => {
      revision = Math.max(revision, await make());
    });
    await aether.client.jobs.list({ limit: 1, min_revision: revision });
    // Outcomes and events are derived behind the jobs: a page is measured when that is done.
    const isFollowed = async () => {
      const { items } = await aether.client.audit.list({ job_id: newest });
      for await (const batch of aether.client.events.read({ job_id: newest }))
        if (batch.length > 0) return items.length;
      return 0;
    };
    await waitFor("outcomes and events to have caught up", isFollowed, 120_000);
  };
  await fill(1_000);
  const few = await time(200, page);
  await fill(99_000);
  const many = await time(200, page);
  return [
    {
      name: "a page of 50 jobs at 100,000, p50",
      value: many.p50,
      unit: "ms",
      baseline: { name: "at 1,000", value: few.p50 },
      ratio: many.p50 / few.p50,
      aim: "flat (≤ 1.2×)",
      met: many.p50 / few.p50 <= 1.2,
    },
  ];
}
