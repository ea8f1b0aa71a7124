// A policy service on a real nats-server, and the users that speak to it.
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Bus, request, seedFile, startTail, streamState } from "@aether/bus";
import { AuditRecord, createId, type DecideReply, type DecideRequest, decide, type Principal } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";
import { captureLog, startNats, type TestNats, tempDir, waitFor } from "@aether/testkit";
import { type PolicyConfig, startPolicy } from "../src/index.ts";

export const member: Principal = { type: "User", id: "1000", roles: ["member"], uid: 1000, gid: 1000, pid: 4242 };
export const operator: Principal = { type: "User", id: "0", roles: ["operator"], uid: 0, gid: 0, pid: 1 };
export const stranger: Principal = { type: "User", id: "65534", roles: [] };

export interface Room extends AsyncDisposable {
  nats: TestNats;
  folder: string;
  policiesDir: string;
  config(overrides?: Partial<PolicyConfig>): PolicyConfig;
  start(
    overrides?: Partial<PolicyConfig>,
    log?: Logger,
    more?: Parameters<typeof startPolicy>[2],
  ): ReturnType<typeof startPolicy>;
}

/** A nats-server and folders for policy services. */
export async function openRoom(options: { storeBytes?: number } = {}): Promise<Room> {
  const nats = await startNats(options);
  const folder = tempDir();
  const policiesDir = join(folder.path, "policies");
  mkdirSync(policiesDir);
  const config = (overrides: Partial<PolicyConfig> = {}): PolicyConfig => ({
    AETHER_NATS_URL: nats.url,
    AETHER_POLICY_SEED_FILE: seedFile(nats.keysDir, "policy"),
    AETHER_POLICY_AUDIT_SEED_FILE: seedFile(nats.keysDir, "policy-audit"),
    AETHER_POLICY_DATA_DIR: join(folder.path, "data"),
    AETHER_POLICY_CHECKPOINT_DIR: join(folder.path, "log"),
    AETHER_POLICY_OWN_POLICIES_DIR: policiesDir,
    AETHER_POLICY_SEAL_BYTES: 64 * 1024 * 1024,
    ...overrides,
  });
  return {
    nats,
    folder: folder.path,
    policiesDir,
    config,
    start: (overrides, log = captureLog(), more = {}) => startPolicy(config(overrides), log, more),
    async [Symbol.asyncDispose]() {
      await nats[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** A question as the jobs service sends it. */
export function question(fields: Partial<DecideRequest> = {}): DecideRequest {
  const principal = fields.principal ?? member;
  return {
    principal,
    action: "submit_job",
    resource: {
      type: "Job",
      id: createId("job"),
      owner: `${principal.type.toLowerCase()}:${principal.id}`,
      labels: {},
    },
    context: fields.action === undefined || fields.action === "submit_job" ? { timeout_ms: 1000 } : {},
    record: "before",
    request_id: createId("req"),
    intent_id: null,
    job_id: null,
    digest: `sha256:${createHash("sha256").update("spec").digest("hex")}`,
    ...fields,
  };
}

/** Asks over the bus, as the jobs service does. */
export async function ask(jobs: Bus, fields: Partial<DecideRequest> = {}, timeoutMs?: number): Promise<DecideReply> {
  const { reply } = await request(jobs, decide, question(fields), {
    envelope: { request_id: createId("req") },
    ...(timeoutMs ? { timeoutMs } : {}),
  });
  return reply;
}

/** Every record in the stream, oldest first, each held against the contract. */
export async function storedRecords(nats: TestNats): Promise<AuditRecord[]> {
  await using bus = await nats.connect("policy-audit");
  const { lastSequence } = await streamState(bus, "AUDIT");
  const records: AuditRecord[] = [];
  let read = 0;
  await using _tail = startTail(bus, {
    stream: "AUDIT",
    subject: "aether.audit.v0",
    from: 1,
    onMessages(messages) {
      for (const { data, sequence } of messages) {
        const lines = new TextDecoder().decode(data ?? new Uint8Array(0)).split("\n");
        records.push(...lines.map((line) => AuditRecord.parse(JSON.parse(line))));
        read = sequence;
      }
    },
  });
  await waitFor("the audit stream to be read", () => read >= lastSequence);
  return records;
}
