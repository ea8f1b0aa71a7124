// Jobs that do nothing, from submit to their end, with one worker, against a loop of bare bubblewraps.
import { isTerminal, type Job } from "@aether/contracts";
import { startAether } from "../tests/_aether.ts";
import { bareBwrap } from "./bwrap.ts";
import { type Figure, rate } from "./measure.ts";

const jobs = 300;

export async function benchNoop(): Promise<Figure[]> {
  await using aether = await startAether();
  const spec = { command: ["true"], resources: { cpus: 0.1, memory: "32MiB" } };
  const run = async () => {
    let job: Job = await aether.client.jobs.submit(spec);
    while (!isTerminal(job.state)) job = await aether.client.jobs.get(job.id, { wait: "30s" });
    if (job.state !== "succeeded") throw new Error(`a no-op job ended ${job.state}: ${job.reason} ${job.message}`);
  };
  await rate(20, 8, run);
  const aetherRate = await rate(jobs, 16, run);
  const bareRate = await rate(jobs, 1, () => bareBwrap("true"));
  return [
    {
      name: "no-op jobs with one worker",
      value: aetherRate,
      unit: "jobs/s",
      baseline: { name: "a loop of bare bwrap", value: bareRate },
      ratio: aetherRate / bareRate,
      aim: "≥ 0.5×",
      met: aetherRate / bareRate >= 0.5,
    },
  ];
}
