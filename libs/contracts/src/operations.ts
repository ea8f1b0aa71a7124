// Every operation there is, by service. Routes, permissions, the client and the documents iterate this and nothing else.
import { addAgent, followAgents, getAgent, listAgents, removeAgent } from "./agents.ts";
import {
  answerApproval,
  getApproval,
  listApprovals,
  listGrants,
  revokeApproval,
  revokeGrant,
  setHumanSecret,
} from "./approvals.ts";
import {
  closeTransfer,
  commitUpload,
  deleteArtifact,
  downloadArtifact,
  getArtifact,
  listArtifacts,
  readChunk,
  registerArtifact,
  sendChunk,
  uploadArtifact,
} from "./artifacts.ts";
import type { Operation } from "./define.ts";
import { emitEvent, readEvents } from "./events.ts";
import { checkAttempt, describeArtifact, giveOutput, takeInput } from "./job-artifacts.ts";
import { getJob, killJob, listJobs, readLogs, stopJob, submitJob } from "./jobs.ts";
import { addEntry, forgetEntry, getEntry, listEntries, searchMemory } from "./memory.ts";
import { lendArtifact } from "./memory-artifacts.ts";
import { checkPolicy, decide, listAudit, listPolicies, verifyAudit } from "./policy.ts";
import { healthOperation, metricsOperation } from "./system.ts";
import { createToken, getToken, listTokens, revokeToken } from "./tokens.ts";
import { appendLog, claimJobs, renewWorker, reportAttempt } from "./worker.ts";

export const services = {
  jobs: [
    submitJob,
    getJob,
    listJobs,
    readLogs,
    stopJob,
    killJob,
    claimJobs,
    renewWorker,
    reportAttempt,
    appendLog,
    checkAttempt,
    addAgent,
    getAgent,
    listAgents,
    removeAgent,
    followAgents,
    healthOperation("jobs"),
    metricsOperation("jobs"),
  ],
  artifacts: [
    registerArtifact,
    uploadArtifact,
    sendChunk,
    commitUpload,
    getArtifact,
    downloadArtifact,
    readChunk,
    closeTransfer,
    listArtifacts,
    deleteArtifact,
    describeArtifact,
    takeInput,
    giveOutput,
    lendArtifact,
    healthOperation("artifacts"),
    metricsOperation("artifacts"),
  ],
  policy: [
    decide,
    checkPolicy,
    listPolicies,
    listAudit,
    verifyAudit,
    listApprovals,
    getApproval,
    answerApproval,
    revokeApproval,
    setHumanSecret,
    listGrants,
    revokeGrant,
    createToken,
    listTokens,
    getToken,
    revokeToken,
    healthOperation("policy"),
    metricsOperation("policy"),
  ],
  memory: [
    addEntry,
    getEntry,
    listEntries,
    searchMemory,
    forgetEntry,
    healthOperation("memory"),
    metricsOperation("memory"),
  ],
  events: [emitEvent, readEvents, healthOperation("events"), metricsOperation("events")],
} as const satisfies Record<string, readonly Operation[]>;

export type ServiceName = keyof typeof services;

export const operations: readonly Operation[] = Object.values(services).flat();
