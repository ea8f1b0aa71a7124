// From the submit to the first line in a follower's hands, against the first line of a bare bubblewrap.
import { startAether } from "../tests/_aether.ts";
import { bareBwrap } from "./bwrap.ts";
import { type Figure, timeBoth } from "./measure.ts";

export async function benchFirstLine(): Promise<Figure[]> {
  await using aether = await startAether();
  const spec = { command: ["echo", "hello"], resources: { cpus: 1, memory: "64MiB" } };
  const submit = async () => {
    const { id } = await aether.client.jobs.submit(spec);
    for await (const frame of aether.client.jobs.logs(id, { follow: true })) if ("data" in frame) return;
  };
  const [aetherTime, bare] = await timeBoth(60, submit, () => bareBwrap("echo", "hello"));
  const added = aetherTime.p50 - bare.p50;
  return [
    {
      name: "submit to first line, added to a bare bwrap, p50",
      value: added,
      unit: "ms",
      baseline: { name: "bare bwrap", value: bare.p50 },
      ratio: aetherTime.p50 / bare.p50,
      aim: "< 25 ms added",
      met: added < 25,
      note: `whole: ${aetherTime.p50.toFixed(1)} ms, p99 ${aetherTime.p99.toFixed(1)} ms`,
    },
  ];
}
