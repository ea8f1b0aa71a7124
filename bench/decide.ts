// Decisions with their audit record stored and synced before the answer, 64 callers at once over the bus, against 64 callers
// who each await one synced publish of a record's size: what recording every decision by itself would cost without deciding.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type Bus, request, seedFile } from "@aether/bus";
import { createId, decide } from "@aether/contracts";
import { startNats, type TestNats, tempDir, waitFor } from "@aether/testkit";
import { type Figure, rate } from "./measure.ts";

const callers = 64;
const recordBytes = 800;

export async function benchDecide(): Promise<Figure[]> {
  await using nats = await startNats();
  using folder = tempDir();
  await using jobs = await nats.connect("jobs");
  const policy = startPolicyProcess(nats, folder.path);
  try {
    await waitFor("policy to answer", () => ask(jobs).catch(() => null));
    await rate(5_000, callers, () => ask(jobs));
    const decisions = await rate(30_000, callers, () => ask(jobs));
    const body = new Uint8Array(recordBytes);
    const publishes = await rate(15_000, callers, (n) => jobs.js.publish(`aether.log.v0.bench-${n % 1000}`, body));
    return [
      {
        name: "decisions with their audit record, 64 callers",
        value: decisions,
        unit: "decisions/s",
        baseline: { name: "one synced publish each", value: publishes },
        ratio: decisions / publishes,
        aim: "≥ 5,000 decisions/s",
        met: decisions >= 5_000,
      },
    ];
  } finally {
    const ended = once(policy, "exit");
    policy.kill("SIGTERM");
    await ended;
  }
}

function startPolicyProcess(nats: TestNats, folder: string): ChildProcess {
  const main = join(import.meta.dirname, "../services/policy/src/main.ts");
  return spawn(process.execPath, [...process.execArgv, main], {
    stdio: ["ignore", "inherit", "inherit"],
    env: {
      AETHER_NATS_URL: nats.url,
      AETHER_POLICY_SEED_FILE: seedFile(nats.keysDir, "policy"),
      AETHER_POLICY_AUDIT_SEED_FILE: seedFile(nats.keysDir, "policy-audit"),
      AETHER_POLICY_DATA_DIR: join(folder, "data"),
      AETHER_POLICY_CHECKPOINT_DIR: join(folder, "log"),
      AETHER_LOG_FILE: join(folder, "policy.log"),
    },
  });
}

async function ask(jobs: Bus): Promise<unknown> {
  const requestId = createId("req");
  const id = createId("job");
  const principal = { type: "User" as const, id: "1000", roles: ["member" as const], uid: 1000, gid: 1000, pid: 4242 };
  const context = {
    ...{ timeout_ms: 3_600_000, cpus_milli: 1000, memory_bytes: 268_435_456, disk_bytes: 1_073_741_824 },
    ...{ pids: 256, pool: "default", priority: 0, network: "none" },
  };
  const question = {
    ...{ principal, action: "submit_job" as const, context, record: "before" as const },
    ...{ request_id: requestId, intent_id: null, job_id: id, digest: `sha256:${"0".repeat(64)}` },
    resource: { type: "Job" as const, id, owner: "user:1000", labels: {} },
  };
  return await request(jobs, decide, question, { envelope: { request_id: requestId } });
}
