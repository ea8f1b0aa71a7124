// A submit acknowledged, against what it cannot do without, awaited in turn: one cross-account request (the gateway's),
// one synced publish (the audit record) and one KV create (the job).

import { openBucket, request } from "@aether/bus";
import { createId, healthOperation, submitJob } from "@aether/contracts";
import { z } from "zod";
import { startAether } from "../tests/_aether.ts";
import { type Figure, timeBoth } from "./measure.ts";

export async function benchSubmit(): Promise<Figure[]> {
  await using aether = await startAether({ worker: false });
  await using gateway = await aether.connect("gateway");
  await using jobs = await aether.connect("jobs");
  const bucket = openBucket(jobs, "idempotency", z.unknown());
  const principal = { type: "User" as const, id: "0", roles: ["operator" as const] };
  const raw = async () => {
    await request(gateway, healthOperation("jobs"), {}, { envelope: { request_id: createId("req"), principal } });
    await jobs.js.publish(`aether.log.v0.bench-${createId("req")}`, new Uint8Array(700));
    await bucket.create(createId("req"), { spec: "x".repeat(1500) });
  };
  const submit = () => aether.client.call(submitJob, { command: ["true"], pool: "bench" });
  const [aetherTime, rawTime] = await timeBoth(400, submit, raw);
  return [
    {
      name: "submit acknowledged, p50",
      value: aetherTime.p50,
      unit: "ms",
      baseline: { name: "request + synced publish + kv create", value: rawTime.p50 },
      ratio: aetherTime.p50 / rawTime.p50,
      aim: "≤ 1.5×",
      met: aetherTime.p50 / rawTime.p50 <= 1.5,
      note: `p99 ${aetherTime.p99.toFixed(2)} ms`,
    },
  ];
}
