// Verification of the whole audit log, sealed segments and stream, by records per second; beside it one SHA-256 of each line
// of the same text, which is the least that it could be.
import { hash } from "node:crypto";
import { join } from "node:path";
import { readBatches } from "@aether/chain";
import { createId } from "@aether/contracts";
import { silentLog, startNats, tempDir, waitFor } from "@aether/testkit";
import { openAuditLog } from "../services/policy/src/audit-log.ts";
import { createDraft, toActor } from "../services/policy/src/record.ts";
import { listSegments } from "../services/policy/src/segments.ts";
import { verifyLog } from "../services/policy/src/verify.ts";
import type { Figure } from "./measure.ts";

const records = 120_000;
const atOnce = 64;
const actor = toActor({ type: "User", id: "1000", roles: ["member"], uid: 1000, gid: 1000, pid: 4242 }, "jobs");

export async function benchAuditVerify(): Promise<Figure[]> {
  await using nats = await startNats();
  using folder = tempDir();
  await using bus = await nats.connect("policy-audit");
  const dirs = { dataDir: join(folder.path, "data"), checkpointDir: join(folder.path, "log") };
  await using log = await openAuditLog({ bus, ...dirs, sealBytes: 2 ** 24, log: silentLog });
  for (let n = 0; n < records; n += atOnce) await log.append(Array.from({ length: atOnce }, decision));
  await waitFor("what is due to be sealed", async () => (await listSegments(log.segmentsDir)).length >= 5, 30_000);
  const verify = () => verifyLog({ bus, segmentsDir: log.segmentsDir, checkpoints: log.checkpoints });
  await verify();
  const startedAt = performance.now();
  const found = await verify();
  const perSecond = found.records / ((performance.now() - startedAt) / 1000);
  if (found.state !== "intact") throw new Error(`the log of the bench is ${found.state}`);
  const hashed = await hashSegments(log.segmentsDir);
  const note = `${found.records} records, ${found.segments} segments`;
  return [
    {
      ...{ name: "audit verify", value: perSecond, unit: "records/s", note },
      baseline: { name: "one SHA-256 a line", value: hashed },
      ...{ ratio: perSecond / hashed, aim: "≥ 50,000 records/s", met: perSecond >= 50_000 },
    },
  ];
}

function decision() {
  const id = createId("job");
  return createDraft({
    ...{ kind: "decision", actor, action: "submit_job", job_id: id, resource: { type: "Job", id } },
    decision: {
      ...{ outcome: "allow", reason: "members work with what they own", policies: ["own-jobs"] },
      ...{ policy_version: `sha256:${"9".repeat(64)}`, approval: null, grant: null },
    },
    provenance: { request_id: createId("req"), digest: `sha256:${"0".repeat(64)}`, source: null },
  });
}

/** Lines of the segments per second, read and hashed and nothing else. */
async function hashSegments(segmentsDir: string): Promise<number> {
  const startedAt = performance.now();
  let lines = 0;
  for (const { file } of await listSegments(segmentsDir)) {
    for await (const batch of readBatches(file)) {
      for (const line of batch) hash("sha256", line, "hex");
      lines += batch.length;
    }
  }
  return lines / ((performance.now() - startedAt) / 1000);
}
