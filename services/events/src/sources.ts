// The streams that events are derived from, a row each: which messages, and what each of them says happened. A row's `read` is
// pure. What it answers depends on the message alone, so that whoever reads the message again names the same events.
import { readApprovalChange } from "./approval-events.ts";
import { readArtifactChange } from "./artifact-events.ts";
import { readJobChange } from "./job-events.ts";
import { readMemoryChange } from "./memory-events.ts";
import type { Source } from "./source.ts";

export const sources: readonly Source[] = [
  { name: "jobs", stream: "KV_jobs", subject: "$KV.jobs.>", read: readJobChange },
  { name: "artifacts", stream: "KV_artifacts", subject: "$KV.artifacts.>", read: readArtifactChange },
  { name: "approvals", stream: "KV_approvals", subject: "$KV.approvals.>", read: readApprovalChange },
  { name: "memory", stream: "MEMORY", subject: "aether.memory.v0.>", read: readMemoryChange },
];
