// The programs that aetherd keeps running, each with the environment that its configuration names and nothing else, and with
// the memory that its work needs: an idle Aether is small.
import { createHash } from "node:crypto";
import { join } from "node:path";
import { seedFile } from "@aether/bus";
import type { Layout } from "@aether/contracts";
import { formatPeople } from "@aether/service";
import type { Account } from "./account.ts";
import type { AetherdConfig } from "./config.ts";
import { checkpointsDir, openerSocket, ownPoliciesDir, secretsKeyFile, workerRunDir } from "./folders.ts";
import { markVariable } from "./leftovers.ts";
import type { ProcessSpec } from "./supervise.ts";

/** Where the code is. */
export const rootDir = join(import.meta.dirname, "../../..");
/** The PATH of every process, whatever the caller's is. */
export const constantPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export type ProgramName = "core" | "warden" | "worker" | "gateway";

/** What makes Aether answer; these have the processor for themselves until it does. */
export const servingPrograms: readonly ProgramName[] = ["core", "gateway"];
/** What makes jobs run. */
export const workingPrograms: readonly ProgramName[] = ["warden", "worker"];
/** Nothing new comes in, then the jobs end, then their records are written; the warden outlives every job. */
export const stopOrder: readonly ProgramName[] = ["gateway", "worker", "core", "warden"];

const programs: Record<ProgramName, { main: string; stopMs: number; flags: readonly string[] }> = {
  core: { main: "apps/aetherd/src/core-main.ts", stopMs: 15_000, flags: heap(1024, 8) },
  gateway: { main: "apps/aetherd/src/gateway-main.ts", stopMs: 12_000, flags: heap(512, 8) },
  worker: { main: "services/worker/src/main.ts", stopMs: 15_000, flags: heap(512, 8) },
  warden: { main: "services/worker/src/warden-main.ts", stopMs: 5_000, flags: heap(64, 1) },
};

export interface ProgramContext {
  layout: Layout;
  account: Account | null;
  config: AetherdConfig;
  natsUrl: string;
}

/** How a program is to be run. */
export function programSpec(name: ProgramName, context: ProgramContext): ProcessSpec {
  const { layout, config } = context;
  const { main, stopMs, flags } = programs[name];
  return {
    name,
    command: process.execPath,
    args: [...flags, join(rootDir, main)],
    env: {
      ...baseEnvironment(layout, config),
      AETHER_LOG_FILE: join(layout.logDir, `${name}.jsonl`),
      ...defined({ OTEL_EXPORTER_OTLP_ENDPOINT: config.OTEL_EXPORTER_OTLP_ENDPOINT }),
      ...environments[name](context),
    },
    // Each is started by root where there is root: worker and warden need it, the others give it up by themselves.
    account: null,
    outputFile: join(layout.logDir, `${name}.log`),
    stopMs,
  };
}

/** What every process gets, nats-server included. */
export function baseEnvironment(layout: Layout, config: AetherdConfig): Record<string, string> {
  const cache = config.NODE_COMPILE_CACHE;
  return {
    PATH: constantPath,
    [markVariable]: layout.runDir,
    ...(cache !== undefined && { NODE_COMPILE_CACHE: cache }),
  };
}

/** Names this installation's sandboxes on the host. */
export function instanceOf(layout: Layout): string {
  return createHash("sha256").update(layout.dataDir).digest("hex").slice(0, 12);
}

/** What the worker and its warden are told of where they are. */
function sandboxEnvironment(layout: Layout): Record<string, string> {
  return {
    AETHER_WORKER_INSTANCE: instanceOf(layout),
    AETHER_WORKER_STATE_DIR: layout.jobsDir,
    AETHER_WORKER_RUN_DIR: workerRunDir(layout),
  };
}

const environments: Record<ProgramName, (context: ProgramContext) => Record<string, string>> = {
  core: (context) => ({
    ...becomes(context),
    ...people(context),
    AETHER_NATS_URL: context.natsUrl,
    AETHER_POLICY_SEED_FILE: seedFile(context.layout.keysDir, "policy"),
    AETHER_POLICY_AUDIT_SEED_FILE: seedFile(context.layout.keysDir, "policy-audit"),
    AETHER_POLICY_DATA_DIR: context.layout.policyDir,
    AETHER_POLICY_CHECKPOINT_DIR: checkpointsDir(context.layout),
    AETHER_POLICY_OWN_POLICIES_DIR: ownPoliciesDir(context.layout),
    AETHER_JOBS_SEED_FILE: seedFile(context.layout.keysDir, "jobs"),
    AETHER_JOBS_VIEW_FILE: join(context.layout.viewsDir, "jobs.sqlite"),
    AETHER_JOBS_STORE_DIR: context.layout.natsDir,
    AETHER_ARTIFACTS_SEED_FILE: seedFile(context.layout.keysDir, "artifacts"),
    AETHER_ARTIFACTS_VIEW_FILE: join(context.layout.viewsDir, "artifacts.sqlite"),
    AETHER_ARTIFACTS_DIR: context.layout.artifactsDir,
    AETHER_ARTIFACTS_STORE_DIR: context.layout.natsDir,
    ...(context.account && { AETHER_ARTIFACTS_OPENER_SOCKET: openerSocket(context.layout) }),
    AETHER_MEMORY_SEED_FILE: seedFile(context.layout.keysDir, "memory"),
    AETHER_MEMORY_VIEWS_DIR: join(context.layout.viewsDir, "memory"),
    ...(context.account && { AETHER_MEMORY_OPENER_SOCKET: openerSocket(context.layout) }),
    AETHER_EVENTS_SEED_FILE: seedFile(context.layout.keysDir, "events"),
    AETHER_EVENTS_VIEW_FILE: join(context.layout.viewsDir, "events.sqlite"),
    AETHER_SECRETS_SEED_FILE: seedFile(context.layout.keysDir, "secrets"),
    AETHER_SECRETS_KEY_FILE: secretsKeyFile(context.layout),
  }),
  gateway: (context) => ({
    ...becomes(context),
    ...people(context),
    AETHER_NATS_URL: context.natsUrl,
    AETHER_GATEWAY_SEED_FILE: seedFile(context.layout.keysDir, "gateway"),
    AETHER_GATEWAY_SOCKET: context.layout.socket,
    AETHER_GATEWAY_AGENTS_DIR: context.layout.agentsDir,
    ...defined({ AETHER_METRICS_LISTEN: context.config.AETHER_METRICS_LISTEN }),
  }),
  worker: ({ layout, config, natsUrl }) => ({
    ...sandboxEnvironment(layout),
    ...workerShare(config),
    AETHER_NATS_URL: natsUrl,
    AETHER_WORKER_HOST: config.AETHER_WORKER_HOST,
    AETHER_WORKER_AGENTS_DIR: layout.agentsDir,
    AETHER_WORKER_SEED_FILE: seedFile(layout.keysDir, `worker-${config.AETHER_WORKER_HOST}`),
  }),
  warden: ({ layout }) => sandboxEnvironment(layout),
};

function becomes({ account }: ProgramContext): Record<string, string> {
  return account ? { AETHER_DAEMON_UID: String(account.uid), AETHER_DAEMON_GID: String(account.gid) } : {};
}

/** Who is who, in numbers, and operators always: those who start what must agree on it say the same. */
function people({ config, account }: ProgramContext): Record<string, string> {
  const { AETHER_OPERATORS: operators, AETHER_MEMBERS: members, AETHER_UID_DOMAIN: domain } = config;
  const byGroup = account && { uids: [], gids: [account.gid] };
  const named = members ?? byGroup;
  return defined({
    AETHER_OPERATORS: formatPeople(operators ?? { uids: [...new Set([0, process.getuid?.() ?? 0])], gids: [] }),
    AETHER_MEMBERS: named ? formatPeople(named) : undefined,
    AETHER_UID_DOMAIN: domain?.map(([first, last]) => `${first}-${last}`).join(","),
  });
}

function workerShare(config: AetherdConfig): Record<string, string> {
  const { AETHER_WORKER_POOLS, AETHER_WORKER_CPUS, AETHER_WORKER_MEMORY_BYTES } = config;
  const { AETHER_WORKER_SLOTS, AETHER_WORKER_WARM_DISKS } = config;
  const share = { AETHER_WORKER_POOLS, AETHER_WORKER_CPUS, AETHER_WORKER_MEMORY_BYTES, AETHER_WORKER_SLOTS };
  return defined({ ...share, AETHER_WORKER_WARM_DISKS });
}

function defined(values: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}

function heap(oldMib: number, semiMib: number): string[] {
  return [`--max-old-space-size=${oldMib}`, `--max-semi-space-size=${semiMib}`];
}
