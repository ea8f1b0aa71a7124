// Reading one job over the socket, against two cross-account requests in turn: the gateway's and the decision's.
import { request } from "@aether/bus";
import { createId, healthOperation } from "@aether/contracts";
import { startAether } from "../tests/_aether.ts";
import { type Figure, rate, timeBoth } from "./measure.ts";

export async function benchGet(): Promise<Figure[]> {
  await using aether = await startAether({ worker: false });
  await using gateway = await aether.connect("gateway");
  const principal = { type: "User" as const, id: "0", roles: ["operator" as const] };
  const health = () =>
    request(gateway, healthOperation("jobs"), {}, { envelope: { request_id: createId("req"), principal } });
  const { id } = await aether.client.jobs.submit({ command: ["true"], pool: "bench" });
  const get = () => aether.client.jobs.get(id);
  const [aetherTime, rawTime] = await timeBoth(1000, get, async () => {
    await health();
    await health();
  });
  const perSecond = await rate(5000, 16, get);
  return [
    {
      name: "GET /v0/jobs/{id}, p50",
      value: aetherTime.p50,
      unit: "ms",
      baseline: { name: "two cross-account requests", value: rawTime.p50 },
      ratio: aetherTime.p50 / rawTime.p50,
      aim: "≤ 3×",
      met: aetherTime.p50 / rawTime.p50 <= 3,
      note: `${Math.round(perSecond).toLocaleString("en")} requests/s with 16 in flight`,
    },
  ];
}
