// The map of the bus: which accounts there are, who is a user of which, what streams and buckets there are, and who may
// publish and subscribe where. The NATS configuration, the provisioning and the documents derive from it and from the
// contracts; nothing else grants a right.
//
// Four accounts, because permissions inside one are not enough: with `allow_responses` a service's answer goes to any reply
// subject the requester chose. EDGE and WORK reach CORE only through operations imported one by one, under their own caller
// token; AUDIT has one runtime user, policy's second connection.
import { type Caller, limits, type Operation, operations, services } from "@aether/contracts";

type Account = "EDGE" | "CORE" | "WORK" | "AUDIT";

export interface StreamSpec {
  name: string;
  account: "CORE" | "AUDIT";
  subjects: string[];
  maxBytesShare: number;
  maxAgeMs?: number;
  /**
   * Buckets keep the last value per subject and refuse writes when full, as ARTIFACTS does with its bytes. LOGS and EVENTS drop their oldest. AUDIT can be neither deleted
   * from nor purged; the server drops its oldest when full, and policy never appends what would drop a record that is not
   * yet in a sealed segment. MEMORY keeps every message and refuses when full; single messages can be erased from it.
   */
  kind: "bucket" | "log" | "audit" | "memory" | "objects";
}

/** Under it each object of ARTIFACTS has a subject of its own, whose messages are its chunks. */
export const objectSubject = "aether.artifact.v0";

/** Streams and buckets, each with its share of the store's reserved bytes. The shares sum to 1. */
export const streams: readonly StreamSpec[] = [
  { name: "KV_jobs", account: "CORE", subjects: ["$KV.jobs.>"], maxBytesShare: 0.14, kind: "bucket" },
  { name: "KV_agents", account: "CORE", subjects: ["$KV.agents.>"], maxBytesShare: 0.01, kind: "bucket" },
  { name: "KV_workers", account: "CORE", subjects: ["$KV.workers.>"], maxBytesShare: 0.02, kind: "bucket" },
  {
    name: "KV_idempotency",
    account: "CORE",
    subjects: ["$KV.idempotency.>"],
    maxBytesShare: 0.03,
    maxAgeMs: limits.idempotencyKeepMs,
    kind: "bucket",
  },
  {
    name: "LOGS",
    account: "CORE",
    subjects: ["aether.log.v0.*"],
    maxBytesShare: 0.1,
    maxAgeMs: limits.logsRetentionMs,
    kind: "log",
  },
  { name: "KV_artifacts", account: "CORE", subjects: ["$KV.artifacts.>"], maxBytesShare: 0.05, kind: "bucket" },
  { name: "ARTIFACTS", account: "CORE", subjects: [`${objectSubject}.*`], maxBytesShare: 0.32, kind: "objects" },
  { name: "KV_approvals", account: "CORE", subjects: ["$KV.approvals.>"], maxBytesShare: 0.02, kind: "bucket" },
  { name: "KV_grants", account: "CORE", subjects: ["$KV.grants.>"], maxBytesShare: 0.01, kind: "bucket" },
  { name: "MEMORY", account: "CORE", subjects: ["aether.memory.v0.*.*"], maxBytesShare: 0.05, kind: "memory" },
  {
    name: "EVENTS",
    account: "CORE",
    subjects: ["aether.events.v0.>"],
    maxBytesShare: 0.05,
    maxAgeMs: limits.eventsRetentionMs,
    kind: "log",
  },
  { name: "AUDIT", account: "AUDIT", subjects: ["aether.audit.v0"], maxBytesShare: 0.2, kind: "audit" },
];

export interface UserSpec {
  name: string;
  account: Account | "SYS";
  publish: string[];
  subscribe: string[];
  /** Answers requests: may publish one reply to each. */
  responds: boolean;
}

/** The users of an installation with these worker hosts. */
export function users(hosts: readonly string[]): UserSpec[] {
  return [
    gateway,
    jobs,
    artifacts,
    policy,
    memory,
    policyAudit,
    events,
    ...hosts.map(worker),
    provisioner("CORE"),
    provisioner("AUDIT"),
    operator,
  ];
}

const callable = (caller: Caller): Operation[] => operations.filter((operation) => operation.callers.includes(caller));
const publishes = (user: string, caller: Caller) =>
  callable(caller).map((operation) => `aether.v0.${user}.${operation.name}`);
const serves = (service: keyof typeof services) => [
  ...services[service].map((operation) => `aether.v0.*.${operation.name} ${service}`),
  ...["PING", "INFO", "STATS"].flatMap((verb) => [
    `$SRV.${verb}`,
    `$SRV.${verb}.aether-${service}`,
    `$SRV.${verb}.aether-${service}.*`,
  ]),
];
/** What reading a stream from a sequence on, and single messages of it, needs. */
const reads = (stream: string) => [
  `$JS.API.STREAM.INFO.${stream}`,
  `$JS.API.DIRECT.GET.${stream}`,
  `$JS.API.DIRECT.GET.${stream}.>`,
  `$JS.API.STREAM.MSG.GET.${stream}`,
  `$JS.API.CONSUMER.CREATE.${stream}.>`,
  `$JS.API.CONSUMER.INFO.${stream}.*`,
  `$JS.API.CONSUMER.DELETE.${stream}.*`,
  `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
  `$JS.FC.${stream}.>`,
  `$JS.FC.*.*.${stream}.>`,
];
const inbox = (user: string) => `_INBOX.${user}.>`;

const gateway: UserSpec = {
  name: "gateway",
  account: "EDGE",
  publish: publishes("gateway", "gateway"),
  subscribe: [inbox("gateway")],
  responds: false,
};

const jobs: UserSpec = {
  name: "jobs",
  account: "CORE",
  publish: [
    ...publishes("jobs", "jobs"),
    ...["jobs", "workers", "idempotency", "agents"].map((bucket) => `$KV.${bucket}.>`),
    "aether.log.v0.*",
    ...["KV_jobs", "KV_workers", "KV_idempotency", "KV_agents", "KV_approvals", "LOGS"].flatMap(reads),
  ],
  subscribe: [inbox("jobs"), ...serves("jobs"), "aether.log.v0.*"],
  responds: true,
};

const artifacts: UserSpec = {
  name: "artifacts",
  account: "CORE",
  publish: [
    ...publishes("artifacts", "artifacts"),
    ...["artifacts", "idempotency"].map((bucket) => `$KV.${bucket}.>`),
    `${objectSubject}.*`,
    ...["KV_artifacts", "KV_idempotency"].flatMap(reads),
    "$JS.API.STREAM.INFO.ARTIFACTS",
    "$JS.API.DIRECT.GET.ARTIFACTS",
    "$JS.API.STREAM.PURGE.ARTIFACTS",
  ],
  subscribe: [inbox("artifacts"), ...serves("artifacts")],
  responds: true,
};

const policy: UserSpec = {
  name: "policy",
  account: "CORE",
  publish: [
    ...["approvals", "grants", "idempotency"].map((bucket) => `$KV.${bucket}.>`),
    ...["KV_jobs", "KV_approvals", "KV_grants", "KV_idempotency"].flatMap(reads),
  ],
  subscribe: [inbox("policy"), ...serves("policy")],
  responds: true,
};

/** Erasing names one message by its sequence; nothing here can purge or delete the stream. */
const memory: UserSpec = {
  name: "memory",
  account: "CORE",
  publish: [
    ...publishes("memory", "memory"),
    "aether.memory.v0.*.*",
    "$JS.API.STREAM.MSG.DELETE.MEMORY",
    ...reads("MEMORY"),
    "$KV.idempotency.>",
    ...reads("KV_idempotency"),
  ],
  subscribe: [inbox("memory"), ...serves("memory")],
  responds: true,
};

const policyAudit: UserSpec = {
  name: "policy-audit",
  account: "AUDIT",
  publish: ["aether.audit.v0", ...reads("AUDIT")],
  subscribe: [inbox("policy-audit")],
  responds: false,
};

const events: UserSpec = {
  name: "events",
  account: "CORE",
  publish: [
    ...publishes("events", "events"),
    "aether.events.v0.>",
    ...["KV_jobs", "KV_artifacts", "KV_approvals", "MEMORY", "EVENTS"].flatMap(reads),
  ],
  subscribe: [inbox("events"), ...serves("events")],
  responds: true,
};

const worker = (host: string): UserSpec => ({
  name: `worker-${host}`,
  account: "WORK",
  publish: publishes(`worker-${host}`, "worker"),
  subscribe: [inbox(`worker-${host}`)],
  responds: false,
});

const provisioner = (account: "CORE" | "AUDIT"): UserSpec => ({
  name: `provision-${account.toLowerCase()}`,
  account,
  publish: ["$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*"],
  subscribe: [inbox(`provision-${account.toLowerCase()}`)],
  responds: false,
});

/** The read-only user for the `nats` CLI: `nats --inbox-prefix _INBOX.ops …`. */
const operator: UserSpec = {
  name: "ops",
  account: "CORE",
  publish: [
    "$JS.API.INFO",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.CONSUMER.LIST.*",
    "$JS.API.CONSUMER.NAMES.*",
    "$JS.API.CONSUMER.INFO.*.*",
    "$SRV.>",
  ],
  subscribe: [inbox("ops"), "aether.>", "$JS.EVENT.>"],
  responds: false,
};

/** Subjects that CORE exports to an account and the account imports, one operation at a time. */
export function imports(account: "EDGE" | "WORK"): string[] {
  return account === "EDGE"
    ? callable("gateway").map((operation) => `aether.v0.gateway.${operation.name}`)
    : callable("worker").map((operation) => `aether.v0.*.${operation.name}`);
}
