// Every operation there is, by service. Routes, permissions, the client and the documents iterate this and nothing else.
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
import { archiveAudit, exportAudit, getAudit } from "./audit.ts";
import type { Operation } from "./define.ts";
import { emitEvent, readEvents } from "./events.ts";
import { checkAttempt, describeArtifact, giveOutput, takeInput } from "./job-artifacts.ts";
import { getJob, killJob, listJobs, readLogs, stopJob, submitJob } from "./jobs.ts";
import { addEntry, forgetEntry, getEntry, listEntries, searchMemory } from "./memory.ts";
import { lendArtifact } from "./memory-artifacts.ts";
import { checkPolicy, decide, listAudit, verifyAudit } from "./policy.ts";
import { healthOperation, metricsOperation } from "./system.ts";
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
    listAudit,
    exportAudit,
    getAudit,
    verifyAudit,
    archiveAudit,
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
