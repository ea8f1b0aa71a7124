// Decisions with their audit record stored and synced before the answer, over the bus: one after the other and 64 callers at once,
// against synced publishes of a record's size by as many, which is what recording every decision by itself would cost without
// deciding. And whether many policies and grants make a decision slower: one that a grant allows, each time about something new.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bus, openLedger, request, seedFile } from "@aether/bus";
import { createId, decide, type Grant } from "@aether/contracts";
import { startNats, type TestNats, tempDir, waitFor } from "@aether/testkit";
import { type Figure, rate, timeBoth } from "./measure.ts";

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
    const [decision, publish] = await timeBoth(
      2_000,
      () => ask(jobs),
      () => jobs.js.publish("aether.log.v0.bench", body),
    );
    const publishes = await rate(15_000, callers, (n) => jobs.js.publish(`aether.log.v0.bench-${n % 1000}`, body));
    return [
      {
        name: "a decision with its audit record, one after the other",
        value: decision.p50,
        unit: "ms",
        baseline: { name: "one synced publish", value: publish.p50 },
        ratio: decision.p50 / publish.p50,
        aim: "≤ 2×",
        met: decision.p50 <= 2 * publish.p50,
      },
      {
        name: "decisions with their audit record, 64 callers",
        value: decisions,
        unit: "decisions/s",
        baseline: { name: "one synced publish each", value: publishes },
        ratio: decisions / publishes,
        aim: "≥ 5,000 decisions/s",
        met: decisions >= 5_000,
      },
      await benchMany(),
    ];
  } finally {
    const ended = once(policy, "exit");
    policy.kill("SIGTERM");
    await ended;
  }
}

const manyPolicies = 500;
const manyGrants = 10_000;

/** Two systems in turn: as shipped with one grant, and with many policies and grants. */
async function benchMany(): Promise<Figure> {
  await using few = await openGranted(0, 1);
  await using many = await openGranted(manyPolicies, manyGrants);
  const [large, small] = await timeBoth(1_000, many.ask, few.ask);
  return {
    name: `a decision by a grant, with ${manyPolicies} policies and ${manyGrants} grants`,
    value: large.p50,
    unit: "ms",
    baseline: { name: "the same as shipped, with one", value: small.p50 },
    ratio: large.p50 / small.p50,
    aim: "flat: ≤ 1.2×",
    met: large.p50 <= 1.2 * small.p50,
  };
}

async function openGranted(policies: number, grants: number): Promise<{ ask(): Promise<unknown> } & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const nats = stack.use(await startNats());
  const folder = stack.use(tempDir()).path;
  const own = join(folder, "own");
  mkdirSync(own);
  writeFileSync(join(own, "many.cedar"), Array.from({ length: policies }, (_, n) => policyOf(n)).join("\n"));
  {
    await using bus = await nats.connect("policy");
    const ledger = await openLedger(bus, "grants");
    for (let n = 0; n < grants; n++) {
      const grant = grantOf(n === 0 ? "agent:bench" : `agent:other${n}`);
      await ledger.put(grant.id, grant);
    }
  }
  const jobs = stack.use(await nats.connect("jobs"));
  const policy = startPolicyProcess(nats, folder, own);
  stack.defer(async () => {
    const ended = once(policy, "exit");
    policy.kill("SIGTERM");
    await ended;
  });
  await waitFor("policy to answer", () => askGranted(jobs).catch(() => null), 30_000);
  const running = stack.move();
  return { ask: () => askGranted(jobs), [Symbol.asyncDispose]: () => running.disposeAsync() };
}

const grantedFacts = { network: "none", cpus_milli: 64_000, memory_bytes: 2 ** 40, timeout_ms: 86_400_000 };

function policyOf(n: number): string {
  const scope = `principal == Aether::User::"${5000 + n}", action == Aether::Action::"start_job", resource`;
  return `@id("bench-${n}") @reason("r") permit (${scope}) when { resource.hasTag("team") && resource.getTag("team") == "t${n}" };`;
}

function grantOf(principal: string): Grant {
  const rule = {
    ...{ words: "", principal, action: "start_job" as const, facts: grantedFacts, intent_id: null },
    resource: { type: "Job" as const, owner: principal },
  };
  const now = Date.now();
  return {
    ...{ id: createId("grt"), scope: "always", rule, owner: "user:1000", by: "user:0", approval_id: createId("apr") },
    ...{ comment: null, last_used_at: null, uses: 0, created_at: new Date(now).toISOString() },
    expires_at: new Date(now + 86_400_000).toISOString(),
  };
}

async function askGranted(jobs: Bus): Promise<unknown> {
  const id = createId("job");
  const context = { ...grantedFacts, timeout_ms: 3_600_001 + Math.floor(Math.random() * 80_000_000) };
  const question = {
    ...{ action: "start_job" as const, context, record: "before" as const, request_id: createId("req") },
    principal: { type: "Agent" as const, id: "bench", roles: ["agent" as const], owner: "user:1000" },
    ...{ intent_id: null, job_id: id, digest: `sha256:${"0".repeat(64)}` },
    resource: { type: "Job" as const, id, owner: "agent:bench", labels: {} },
  };
  const { reply } = await request(jobs, decide, question, { envelope: { request_id: createId("req") } });
  if (reply.outcome !== "allow") throw new Error(`not allowed: ${reply.reason}`);
  return reply;
}

function startPolicyProcess(nats: TestNats, folder: string, ownPolicies?: string): ChildProcess {
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
      ...(ownPolicies !== undefined && { AETHER_POLICY_OWN_POLICIES_DIR: ownPolicies }),
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
