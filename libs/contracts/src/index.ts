// The contract package: the only thing two services share. Depends on zod and nothing else; runs in a browser.
export { type Action, actions, type ResourceType, reservedActions, resourceTypes } from "./actions.ts";
export { Agent, AgentLimits, AgentName, addAgent, followAgents, getAgent, listAgents, removeAgent } from "./agents.ts";
export {
  AnswerKind,
  Approval,
  ApprovalState,
  AskRequest,
  answerApproval,
  Grant,
  GrantRule,
  getApproval,
  listApprovals,
  listGrants,
  Preview,
  revokeApproval,
  revokeGrant,
  setHumanSecret,
} from "./approvals.ts";
export {
  Artifact,
  ArtifactName,
  closeTransfer,
  commitUpload,
  deleteArtifact,
  downloadArtifact,
  getArtifact,
  listArtifacts,
  readChunk,
  registerArtifact,
  Sha256,
  sendChunk,
  uploadArtifact,
} from "./artifacts.ts";
export {
  type Caller,
  type Decided,
  defineOperation,
  type Exempt,
  type HttpRoute,
  type Operation,
  type Reply,
  type Request,
  subjectOf,
} from "./define.ts";
export {
  Envelope,
  hasOwnersUid,
  hostUserOf,
  Principal,
  PrincipalName,
  principalName,
  principalOf,
} from "./envelope.ts";
export {
  CloudEvent,
  EventFrame,
  EventInput,
  EventPage,
  EventQuery,
  EventReadRequest,
  emitEvent,
  readEvents,
} from "./events.ts";
export { type Example, examples, problemExample } from "./examples.ts";
export { parseFact } from "./facts.ts";
export {
  ApprovalId,
  ArtifactId,
  AuditId,
  createId,
  EntryId,
  GrantId,
  IntentId,
  JobId,
  RequestId,
  TokenId,
} from "./ids.ts";
export { checkAttempt, describeArtifact, giveOutput, takeInput } from "./job-artifacts.ts";
export {
  getJob,
  isTerminal,
  Job,
  JobArtifact,
  JobAttempt,
  JobEnforced,
  JobList,
  JobReason,
  JobState,
  JobUsage,
  jobStates,
  killJob,
  listJobs,
  readLogs,
  stopJob,
  submitJob,
} from "./jobs.ts";
export { type Layout, LayoutError, type LayoutInput, resolveLayout } from "./layout.ts";
export { limits } from "./limits.ts";
export {
  LogBatch,
  LogFrame,
  LogPage,
  LogQuery,
  LogReadRequest,
  LogSegment,
  LogStream,
  type TruncatedReason,
} from "./logs.ts";
export { MediaType } from "./media-type.ts";
export {
  addEntry,
  Citation,
  forgetEntry,
  getEntry,
  isPlainText,
  listEntries,
  MemoryEntry,
  MemoryHit,
  MemoryKind,
  MemoryText,
  NewEntry,
  searchMemory,
  Trust,
  trustLevels,
} from "./memory.ts";
export { lendArtifact } from "./memory-artifacts.ts";
export { createOpenApi } from "./openapi.ts";
export { operations, type ServiceName, services } from "./operations.ts";
export {
  AuditRecord,
  checkPolicy,
  DecideReply,
  DecideRequest,
  DecisionContext,
  decide,
  listAudit,
  listPolicies,
  PolicyEntry,
  Resource,
  verifyAudit,
} from "./policy.ts";
export { Decision, invalidRequest, Problem, ProblemError, type ProblemSlug, problems } from "./problem.ts";
export { formatQuery, parseQuery, querySchema } from "./query.ts";
export { JobSpec, type JobSpecInput, Labels, RetryCause } from "./spec.ts";
export {
  Health,
  healthOperation,
  Metric,
  Metrics,
  metricsOperation,
  ServiceHealth,
  ServiceMetrics,
  systemRoutes,
  Version,
  WhoAmI,
} from "./system.ts";
export {
  Capability,
  createToken,
  getToken,
  listTokens,
  revokeToken,
  Token,
  TokenBinding,
} from "./tokens.ts";
export { formatDuration, parseDurationMs, parseSizeBytes, requireBytes, requireDurationMs, toBytes } from "./units.ts";
export { visible } from "./visible.ts";
export {
  AttemptEvent,
  appendLog,
  Capacity,
  Claim,
  claimJobs,
  IncarnationId,
  renewWorker,
  reportAttempt,
} from "./worker.ts";
