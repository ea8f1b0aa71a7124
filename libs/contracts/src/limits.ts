// Every maximum and default of the system, each with its unit in its name. Policy may lower them; nothing may raise them.

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Limits of requests, jobs, logs, leases and pages. */
export const limits = {
  requestBodyBytes: 512 * KIB,
  requestHeadersBytes: 16 * KIB,
  chunkBytes: 256 * KIB,
  commandBytes: 64 * KIB,
  environmentBytes: 64 * KIB,
  stdinBytes: 128 * KIB,
  labelPairs: 32,
  labelBytes: 256,

  cpusMin: 0.01,
  cpusMax: 1024,
  memoryMinBytes: 4 * MIB,
  memoryMaxBytes: 16 * 1024 * GIB,
  memoryUnknownWorkerBytes: 256 * MIB,
  cpusUnknownWorker: 1,
  pidsDefault: 256,
  pidsMax: 32_768,
  diskDefaultBytes: GIB,
  diskMinBytes: 4 * MIB,
  diskMaxBytes: 16 * 1024 * GIB,
  timeoutDefaultMs: HOUR,
  timeoutMaxMs: 30 * DAY,
  queueTimeoutDefaultMs: DAY,
  queueTimeoutMaxMs: 30 * DAY,
  graceDefaultMs: 10 * SECOND,
  graceMaxMs: 10 * MINUTE,
  attemptsMax: 100,
  startFailuresMax: 5,
  priorityMin: -100,
  priorityMax: 100,
  waitMaxMs: MINUTE,

  logMaxBytes: 64 * MIB,
  logLineBytes: 64 * KIB,
  logBatchBytes: 128 * KIB,
  logsRetentionMs: 7 * DAY,
  logsRetentionBytes: 8 * GIB,
  followHeartbeatMs: 10 * SECOND,

  eventBytes: 64 * KIB,
  eventsRetentionMs: 7 * DAY,
  eventsTailMax: 10_000,

  artifactBytes: 4 * GIB,
  artifactsPerJobBytes: 16 * GIB,
  artifactsShareOfStore: 0.8,
  artifactNameBytes: 255,
  jobInputs: 64,
  jobOutputRules: 32,
  jobOutputs: 256,
  /** How long outputs are tried to be stored while nobody takes them. */
  outputsPatienceMs: 5 * MINUTE,
  transferMs: 10 * MINUTE,
  transferIdleMs: MINUTE,
  /** A service that died in the middle answers nothing: longer than a step takes, and not much longer. */
  transferStepMs: 10 * SECOND,
  transferReadMs: 3 * SECOND,
  transfersMax: 64,
  transfersPerCallerMax: 16,
  transferChunksInFlight: 4,

  heartbeatMs: 2 * SECOND,
  wardenDeadlineMs: 10 * SECOND,
  workerGoneMs: 20 * SECOND,
  decideDeadlineMs: 2 * SECOND,
  requestDeadlineMs: 30 * SECOND,
  idempotencyKeepMs: DAY,

  tokenMaxMs: 15 * MINUTE,
  tokenChars: 4096,
  tokenCapabilities: 16,
  tokenChain: 8,
  tokensPerPrincipal: 100,
  tokensMax: 10_000,

  memoryTextBytes: 512 * KIB,
  memoryQueryBytes: 2 * KIB,
  memoryHitsMax: 50,
  memorySourceBytes: 4 * MIB,
  /** A PDF is read by a job. */
  memoryAddMs: 45 * SECOND,

  /** Of everybody, those that were removed included. */
  agentsMax: 1000,
  agentsPerOwnerMax: 32,

  approvalsPendingPerPrincipal: 100,
  approvalsPendingMax: 2_000,
  approvalsEndedMax: 2_000,
  approvalsKeepMs: 7 * DAY,
  approvalSubjects: 64,
  approvalUses: 1000,
  approvalTimeoutMs: DAY,
  /** How long a yes that nobody uses can be used. */
  approvalUsableMs: DAY,
  grantSessionMs: 8 * HOUR,
  grantAlwaysMs: 30 * DAY,
  grantsPerKind: 100,
  humanSecretMinChars: 8,
  humanSecretChars: 200,
  humanSecretTries: 5,
  humanSecretPauseMs: MINUTE,

  pageDefault: 50,
  pageMax: 500,
  jobsKeepMs: 30 * DAY,
  jobsKeepCount: 100_000,
} as const;
