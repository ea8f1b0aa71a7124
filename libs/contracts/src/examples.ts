// One whole example per operation and gateway route: what is sent and what comes back. The documents show them, a unit test
// holds them against the schemas, and a system test holds real answers against them.
import type { Agent } from "./agents.ts";
import type { Approval, Grant } from "./approvals.ts";
import type { Artifact } from "./artifacts.ts";
import type { Job } from "./jobs.ts";
import type { LogFrame } from "./logs.ts";
import type { Citation, MemoryEntry } from "./memory.ts";
import type { Token } from "./tokens.ts";

export interface Example {
  /** Values for the names in the path. */
  params?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: Record<string, unknown>;
  /** A body that is bytes, as text. */
  content?: string;
  /** The answer; text where it is bytes. */
  reply: unknown;
}

const jobId = "job_01kas4f8m0w3v5x7z9b2d4f6h8";
const policyVersion = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const token: Token = {
  id: "tok_01kas4f8m0w3v5x7z9b2d4f6h8",
  owner: "user:1000",
  bind: { uid: 1000 },
  capabilities: [{ actions: ["read_job", "read_logs"], id: jobId }],
  chain: [],
  created_at: "2026-11-23T10:00:00.000Z",
  expires_at: "2026-11-23T10:05:00.000Z",
  revoked_at: null,
};
const bootId = "6f1c2f0e-6f0a-4c46-9b0e-2f3c1d5a7e90";

const spec: Job["spec"] = {
  command: ["sh", "-c", "echo $((6*7))"],
  env: {},
  working_dir: "/workspace",
  stdin: null,
  inputs: [],
  outputs: null,
  resources: { memory: "256MiB", cpus: 1, pids: 256, disk: "1GiB", io: { read_bps: null, write_bps: null } },
  network: { mode: "none" },
  sandbox: { driver: "auto" },
  attach: null,
  timeout: "10m",
  queue_timeout: "1d",
  grace: "10s",
  retry: null,
  priority: 0,
  pool: "default",
  labels: { team: "docs" },
  name: "answer",
  intent_id: null,
};

const queued: Job = {
  id: jobId,
  job_id: jobId,
  name: "answer",
  owner: "user:1000",
  intent_id: null,
  labels: { team: "docs" },
  state: "queued",
  reason: null,
  message: null,
  spec,
  pool: "default",
  priority: 0,
  attempt: 0,
  max_attempts: 1,
  worker: null,
  driver: null,
  exit_code: null,
  signal: null,
  approval_id: null,
  policy_version: policyVersion,
  created_at: "2026-11-23T10:00:00.000Z",
  queued_at: "2026-11-23T10:00:00.000Z",
  started_at: null,
  ended_at: null,
  queued_ms: null,
  runtime_ms: null,
  usage: null,
  enforced: null,
  logs: { last_seq: 0, bytes: 0, truncated: false },
  attempts: [],
  artifacts: [],
  revision: 41,
};

const succeeded: Job = {
  ...queued,
  state: "succeeded",
  attempt: 1,
  worker: "host-a",
  driver: "bubblewrap",
  exit_code: 0,
  started_at: "2026-11-23T10:00:00.004Z",
  ended_at: "2026-11-23T10:00:00.035Z",
  queued_ms: 4,
  runtime_ms: 31,
  usage: {
    cpu_ms: 22,
    memory_peak_bytes: 9_437_184,
    io_read_bytes: 0,
    io_write_bytes: 0,
    oom_kills: 0,
    pids_peak: 2,
    gpu_ms: 0,
    gpu_memory_peak_bytes: 0,
  },
  enforced: { memory: "cgroup2", cpus: "cgroup2", pids: "cgroup2", disk: "loop", io: "none" },
  logs: { last_seq: 1, bytes: 3, truncated: false },
  attempts: [
    {
      attempt: 1,
      worker: "host-a",
      started_at: "2026-11-23T10:00:00.004Z",
      ended_at: "2026-11-23T10:00:00.035Z",
      exit_code: 0,
      signal: null,
      reason: null,
    },
  ],
  revision: 47,
};

const stopping: Job = {
  ...succeeded,
  state: "stopping",
  reason: "requested",
  exit_code: null,
  ended_at: null,
  runtime_ms: null,
  usage: null,
  logs: { last_seq: 0, bytes: 0, truncated: false },
  attempts: succeeded.attempts.map((attempt) => ({ ...attempt, ended_at: null, exit_code: null })),
  revision: 46,
};

const frames: LogFrame[] = [
  { seq: 1, attempt: 1, ts: "2026-11-23T10:00:00.031Z", stream: "stdout", data: "42" },
  { type: "eof", last_seq: 1, state: "succeeded", reason: null, exit_code: 0, signal: null },
];

const artifactId = "art_01kas4f8m2d6f8h0k2n4q6s8v0";

const artifact: Artifact = {
  id: artifactId,
  artifact_id: artifactId,
  name: "answer.txt",
  type: "text/plain",
  size_bytes: 2,
  sha256: "73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049",
  owner: "user:1000",
  job_id: null,
  intent_id: null,
  labels: { team: "docs" },
  created_at: "2026-11-23T10:00:01.000Z",
  path: null,
  revision: 12,
};
const placed: Artifact = { ...artifact, path: `/var/lib/aether/artifacts/1000/${artifactId}` };

const decided = {
  id: "aud_01kas4f8m1c5e7g9j2m4p6r8t0",
  seq: 2,
  kind: "decision",
  ts: { wall: "2026-11-23T10:00:00.000Z", monotonic_ns: "81345022190412", boot_id: bootId },
  actor: { type: "User", id: "1000", uid: 1000, gid: 1000, pid: 4711, owner: null, same_uid: false, via: "jobs" },
  intent_id: null,
  job_id: jobId,
  action: "submit_job",
  resource: { type: "Job", id: jobId },
  decision: {
    outcome: "allow",
    reason: "an owner may do everything with their own jobs",
    policies: ["own-jobs"],
    policy_version: policyVersion,
    approval: null,
    grant: null,
  },
  provenance: {
    request_id: "req_01kas4f8m0q2s4v6x8z0b2d4f6",
    digest: "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    source: null,
  },
  outcome: null,
  note: null,
  count: 1,
  prev: "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9",
  hash: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
};

const entryId = "mem_01kas4f8m2d6f8h0k3n5q7s9v1";
const entry: MemoryEntry = {
  id: entryId,
  entry_id: entryId,
  kind: "note",
  title: "Backup disk",
  owner: "user:1000",
  author: "Ada",
  thread: "standup",
  labels: { team: "docs" },
  source: null,
  size_bytes: 85,
  lines: 1,
  trust: "user",
  provenance: {
    created_by: { kind: "User", id: "1000" },
    created_at: "2026-11-23T10:00:00.000Z",
    intent_id: null,
    job_id: null,
    derived_from: [],
    supersedes: null,
  },
  valid: { from: "2026-11-23T10:00:00.000Z", to: null },
  expires_at: null,
  superseded_by: null,
  revision: 12,
};
const entryText = "The backup disk is in the cupboard by the window. Ben changes it on the first Monday.";
const citation: Citation = {
  uri: `aether:memory/${entryId}`,
  lines: [1, 1],
  bytes: [0, 85],
  sha256: "5d7bb4bf4cd5887a45f541f21adf9025d974febdc756641ab2504eaeb679b5eb",
  quote: entryText,
  state: "fresh",
  ref: `${entryId}#L1`,
};
const { revision: _revision, entry_id: _entryId, size_bytes: _size, lines: _lines, ...hit } = entry;
const intentId = "int_01kas4f8m0b2d4f6h8k0m2p4r6";
const started = {
  specversion: "1.0",
  id: "KV_jobs:43",
  source: "/system/jobs",
  type: "dev.aether.job.started.v1",
  subject: jobId,
  time: "2026-11-23T10:00:00.004Z",
  datacontenttype: "application/json",
  jobid: jobId,
  data: { state: "running", previous_state: "starting", reason: null, attempt: 1 },
  sequence: "000000000129",
};
const ended = {
  ...started,
  id: "KV_jobs:47",
  type: "dev.aether.job.ended.v1",
  time: "2026-11-23T10:00:00.035Z",
  data: { state: "succeeded", previous_state: "running", reason: null, attempt: 1, exit_code: 0, signal: null },
  sequence: "000000000131",
};

const scout: Agent = {
  id: "scout",
  name: "scout",
  owner: "user:1000",
  limits: { cpus: 1, memory: "512MiB", pids: 256, disk: "1GiB", timeout: "1h" },
  created_at: "2026-11-23T10:00:00.000Z",
  created_by: "user:1000",
  revision: 12,
};

const approvalId = "apr_01kas4f8m3e7g9j1m4p6r8t0w2";
const grantId = "grt_01kas4f8m4f8h0k2n5q7s9v1x3";
const removal = "sha256:9b74c9897bac770ffc029102a200c5de8a4f2c0b1b3d5e7f9a1c3e5d7f9b1d3f";
const rule: Grant["rule"] = {
  words: "agent:aurora may delete_artifact (Artifact of agent:aurora) without asking for 30d",
  principal: "agent:aurora",
  action: "delete_artifact",
  resource: { type: "Artifact", owner: "agent:aurora" },
  facts: {},
  intent_id: null,
};
const pending: Approval = {
  id: approvalId,
  state: "pending",
  digest: removal,
  requester: { principal: "agent:aurora", uid: 61_001, owner: "user:1000" },
  action: "delete_artifact",
  resource: { type: "Artifact", id: artifactId, owner: "agent:aurora" },
  facts: {},
  intent_id: null,
  subjects: [{ subject: "req_01kas4f8m0q2s4v6x8z0b2d4f6", job_id: null, at: "2026-11-23T10:00:00.000Z" }],
  why: [{ policy: "keep-asks", reason: "what is kept is deleted only when a person agrees" }],
  ask: "Delete what is kept?",
  preview: {
    kind: "operation",
    words: "Delete an artifact",
    operation: "artifacts.delete",
    request: { id: `"${artifactId}"` },
  },
  options: [
    { kind: "allow_once", rule: null, lasts_ms: null },
    { kind: "allow_always", rule, lasts_ms: 2_592_000_000 },
    { kind: "reject_once", rule: null, lasts_ms: null },
  ],
  default: "reject_once",
  created_at: "2026-11-23T10:00:00.000Z",
  expires_at: "2026-11-24T10:00:00.000Z",
  answered_at: null,
  answered_by: null,
  answer: null,
  comment: null,
  grant_id: null,
  supersedes: null,
  uses: [],
};
const approved: Approval = {
  ...pending,
  state: "approved",
  answered_at: "2026-11-23T10:02:00.000Z",
  answered_by: "user:0",
  answer: "allow_once",
  comment: "it is there twice",
  expires_at: "2026-11-24T10:02:00.000Z",
};
const grant: Grant = {
  id: grantId,
  scope: "always",
  rule,
  owner: "user:1000",
  by: "user:0",
  approval_id: approvalId,
  comment: null,
  created_at: "2026-11-23T10:02:00.000Z",
  expires_at: "2026-12-23T10:02:00.000Z",
  last_used_at: null,
  uses: 0,
};

/** By operation name; by path for the gateway's own routes. */
export const examples: Readonly<Record<string, Example>> = {
  "jobs.submit": {
    query: { wait: "30s" },
    body: {
      command: ["sh", "-c", "echo $((6*7))"],
      name: "answer",
      labels: { team: "docs" },
      resources: { memory: "256MiB", cpus: 1 },
      timeout: "10m",
    },
    reply: succeeded,
  },
  "jobs.get": { params: { id: jobId }, query: { wait: "30s" }, reply: succeeded },
  "jobs.list": {
    query: { state: ["succeeded", "failed"], label: ["team=docs"], limit: 1 },
    reply: { items: [succeeded], next_cursor: jobId },
  },
  "jobs.logs": { params: { id: jobId }, query: { follow: "1", after: 0 }, reply: frames },
  "jobs.stop": { params: { id: jobId }, body: { grace: "5s" }, reply: stopping },
  "jobs.kill": { params: { id: jobId }, body: {}, reply: stopping },
  "artifacts.register": {
    body: { path: "/etc/hostname", name: "answer.txt", type: "text/plain", labels: { team: "docs" } },
    reply: artifact,
  },
  "artifacts.upload": {
    query: { name: "answer.txt", type: "text/plain", label: ["team=docs"] },
    content: "42",
    reply: artifact,
  },
  "artifacts.get": { params: { id: artifactId }, reply: placed },
  "artifacts.download": { params: { id: artifactId }, reply: "42" },
  "artifacts.list": {
    query: { label: ["team=docs"], limit: 1 },
    reply: { items: [artifact], next_cursor: artifactId },
  },
  "artifacts.delete": { params: { id: artifactId }, reply: artifact },
  "policy.check": {
    body: { action: "submit_job", context: { timeout_ms: 864_000_000 } },
    reply: {
      decision: "deny",
      reason: "no job may run longer than 7 days",
      policies: ["limit-timeout"],
      policy_version: policyVersion,
    },
  },
  "policy.create-token": {
    body: { capabilities: token.capabilities, ttl: "5m" },
    reply: {
      ...token,
      token: "eyJhbGciOiJFZERTQSIsInR5cCI6ImFldGhlci1jYXArand0In0.eyJhdWQiOiJhZXRoZXIifQ.c2lnbmF0dXJl",
    },
  },
  "policy.tokens": { query: { limit: 1 }, reply: { items: [token], next_cursor: token.id } },
  "policy.token": { params: { id: token.id }, reply: token },
  "policy.revoke-token": { params: { id: token.id }, reply: { ...token, revoked_at: "2026-11-23T10:01:00.000Z" } },
  "policy.policies": {
    query: { limit: 1 },
    reply: {
      policy_version: policyVersion,
      items: [
        {
          id: "own-artifacts",
          effect: "permit",
          reason: "an owner may do everything with their own artifacts",
          ask: null,
          origin: "shipped",
          file: "artifacts.cedar",
          line: 3,
        },
      ],
      next_cursor: "own-artifacts",
      warnings: [],
      error: null,
    },
  },
  "policy.audit": { query: { job_id: jobId, action: "submit_job" }, reply: { items: [decided], next_cursor: null } },
  "policy.verify": {
    body: {},
    reply: {
      state: "intact",
      records: 4211,
      first_seq: 1,
      last_seq: 4211,
      last_hash: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
      checkpoints: 3,
      segments: 0,
      faults: [],
    },
  },
  "policy.approvals": {
    query: { state: ["pending"], limit: 1 },
    reply: { items: [pending], next_cursor: approvalId, revision: 129 },
  },
  "policy.approval": { params: { id: approvalId }, reply: pending },
  "policy.answer": {
    params: { id: approvalId },
    body: { option: "allow_once", digest: removal, comment: "it is there twice" },
    reply: approved,
  },
  "policy.revoke-approval": { params: { id: approvalId }, reply: { ...approved, state: "revoked" } },
  "policy.human-secret": {
    body: { secret: "correct horse battery" },
    reply: { principal: "user:1000", is_set: true },
  },
  "policy.grants": {
    query: { limit: 1 },
    reply: { items: [grant], next_cursor: grantId },
  },
  "policy.revoke-grant": { params: { id: grantId }, reply: grant },
  "memory.add": {
    body: {
      kind: "note",
      title: "Backup disk",
      text: entryText,
      author: "Ada",
      thread: "standup",
      labels: { team: "docs" },
    },
    reply: entry,
  },
  "memory.get": {
    params: { id: entryId },
    query: { lines: "1", context: 2 },
    reply: { ...entry, text: entryText, citation },
  },
  "memory.list": {
    query: { kind: "note", label: ["team=docs"], limit: 1 },
    reply: { items: [entry], next_cursor: entryId },
  },
  "memory.search": {
    query: { q: "Where does Ada say the backup disk is?", k: 3 },
    reply: {
      query: "Where does Ada say the backup disk is?",
      mode: "lexical",
      took_ms: 1.8,
      understood: { author: "Ada", after: null, before: null },
      results: [
        {
          ...hit,
          snippet:
            "The <mark>backup</mark> <mark>disk</mark> is in the cupboard by the window. Ben changes it on the first Monday.",
          score: 4.2,
          explain: {
            ...{ bm25: 2.8, bm25_rank: 1, vector_rank: null },
            ...{ context: 0, thread: 0, author_boost: 1.5, date_boost: 1 },
          },
          citation,
        },
      ],
    },
  },
  "memory.forget": {
    params: { id: entryId },
    reply: { id: entryId, entry_id: entryId, forgotten_at: "2026-11-23T11:00:00.000Z", forgotten_by: "user:1000" },
  },
  "events.emit": {
    body: {
      specversion: "1.0",
      id: "build-1024",
      source: "ci",
      type: "com.example.build.finished",
      data: { commit: "4a7f1cd", passed: true },
      intentid: intentId,
    },
    reply: {
      time: "2026-11-23T10:00:00.000Z",
      specversion: "1.0",
      id: "build-1024",
      type: "com.example.build.finished",
      data: { commit: "4a7f1cd", passed: true },
      intentid: intentId,
      source: "/user/1000/ci",
      sequence: "000000000128",
    },
  },
  "events.read": {
    query: { job_id: jobId, type: ["dev.aether.job.started.v1", "dev.aether.job.ended.v1"] },
    reply: [started, ended],
  },
  "jobs.add-agent": {
    body: { name: "scout", limits: { cpus: 1, memory: "512MiB" } },
    reply: scout,
  },
  "jobs.get-agent": { params: { name: "scout" }, reply: scout },
  "jobs.list-agents": { query: { limit: 1 }, reply: { items: [scout], next_cursor: "scout" } },
  "jobs.remove-agent": { params: { name: "scout" }, reply: scout },
  "/health": {
    reply: {
      status: "up",
      services: [
        { name: "gateway", up: true, version: "0.1.0", latency_ms: 0, degraded: [] },
        { name: "events", up: true, version: "0.1.0", latency_ms: 0.64, degraded: [] },
        { name: "jobs", up: true, version: "0.1.0", latency_ms: 0.61, degraded: [] },
        { name: "artifacts", up: true, version: "0.1.0", latency_ms: 0.6, degraded: [] },
        { name: "policy", up: true, version: "0.1.0", latency_ms: 0.58, degraded: [] },
        { name: "memory", up: true, version: "0.1.0", latency_ms: 0.63, degraded: [] },
      ],
    },
  },
  "/metrics": {
    reply: {
      schema: "aether.metrics/v0",
      time: "2026-11-23T10:00:00.000Z",
      temporality: "cumulative",
      services: [
        {
          resource: {
            "service.name": "aether-jobs",
            "service.version": "0.1.0",
            "service.instance.id": "01kas4f8m0c5e7g9j2m4p6r8t0",
          },
          start_time: "2026-11-23T09:00:00.000Z",
          metrics: [
            {
              name: "aether.jobs.ended",
              type: "counter",
              unit: "{job}",
              description: "Jobs that ended, by state",
              points: [{ attributes: { "aether.job.state": "succeeded" }, value: 3 }],
            },
            {
              name: "aether.jobs.queue.wait",
              type: "histogram",
              unit: "s",
              description: "From being queued to being claimed",
              explicit_bounds: [0.01, 0.1, 1],
              points: [{ attributes: {}, count: 3, sum: 0.05, bucket_counts: [2, 1, 0, 0] }],
            },
          ],
        },
      ],
      missing: [],
    },
  },
  "/whoami": {
    reply: {
      type: "User",
      id: "1000",
      name: "user:1000",
      roles: ["member"],
      owner: null,
      uid: 1000,
      gid: 1000,
      pid: 4711,
      groups: [4, 24],
      known_by: "credentials",
      same_uid: false,
      note: "every program of uid 1000 is you to Aether; `aether agent run` gives one a name and rights of its own",
    },
  },
  "/version": { reply: { version: "0.1.0", api: "v0", node: "24.21.0" } },
};

/** A refusal as it comes over HTTP. */
export const problemExample = {
  type: "urn:aether:problem:invalid-request",
  title: "The request is not valid",
  status: 400,
  detail: "resources.pids: Too small: expected number to be >=1",
  instance: "urn:aether:request:req_01kas4f8m0q2s4v6x8z0b2d4f6",
  errors: [{ path: "resources.pids", message: "Too small: expected number to be >=1" }],
};
