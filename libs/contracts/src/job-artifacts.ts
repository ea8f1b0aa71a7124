// What passes between jobs and artifacts: a submitted job's inputs are looked up, and the worker that holds an attempt takes its
// inputs and gives its outputs. The worker is held against the attempt, which artifacts asks jobs about; what it takes must
// be an input of that very job, and what it gives becomes the artifact of the job's owner.
import { z } from "zod";
import { Artifact, ArtifactName, Sha256 } from "./artifacts.ts";
import { defineOperation } from "./define.ts";
import { Principal } from "./envelope.ts";
import { ArtifactId, IntentId, JobId } from "./ids.ts";
import { limits } from "./limits.ts";
import { MediaType } from "./media-type.ts";
import { JobSecret } from "./secrets.ts";

const attempt = { job_id: JobId, attempt: z.int().min(1), secret: z.string().max(100) };
const transfer = z.string();
const fenced = (reason: string) => ({ exempt: "fenced", reason }) as const;

export const describeArtifact = defineOperation({
  name: "artifacts.describe",
  kind: "unary",
  summary: "Tell jobs what an input is, so that it can ask policy about it",
  request: z.strictObject({ id: ArtifactId }),
  reply: z.object({
    owner: z.string(),
    labels: z.record(z.string(), z.string()),
    sha256: Sha256,
    size_bytes: z.int(),
  }),
  problems: ["not-found"],
  access: fenced("tells jobs alone, which asks policy whether the submitter may read it"),
  callers: ["jobs"],
  retry: "safe",
  timeoutMs: limits.decideDeadlineMs,
});

export const checkAttempt = defineOperation({
  name: "jobs.check",
  kind: "unary",
  summary: "Tell artifacts and secrets whether a host holds an attempt, and whose it is",
  request: z.strictObject({ ...attempt, host: z.string().max(100) }),
  reply: z.object({
    owner: z.string(),
    principal: Principal.describe("The owner, with the rights that he has while he is away"),
    intent_id: IntentId.nullable(),
    inputs: z.array(ArtifactId),
    secrets: z.array(JobSecret),
  }),
  problems: ["conflict", "not-found"],
  access: fenced("answered only for the attempt's secret and the host that holds it"),
  callers: ["artifacts", "secrets"],
  retry: "safe",
  timeoutMs: limits.decideDeadlineMs,
});

export const takeInput = defineOperation({
  name: "artifacts.take",
  kind: "unary",
  summary: "Begin to read an input of an attempt",
  request: z.strictObject({ ...attempt, id: ArtifactId }),
  reply: z.object({ transfer, artifact: Artifact }),
  problems: ["conflict", "not-found", "policy-denied", "too-many-requests"],
  access: fenced("held against the attempt, and asks policy for read_artifact on behalf of the job's owner"),
  callers: ["worker"],
  retry: "safe",
  timeoutMs: limits.transferStepMs,
});

export const giveOutput = defineOperation({
  name: "artifacts.give",
  kind: "unary",
  summary: "Begin to store an output of an attempt as its owner's artifact",
  request: z.strictObject({ ...attempt, name: ArtifactName, type: MediaType, size_bytes: z.int().min(0) }),
  reply: z.object({ transfer }),
  problems: ["conflict", "not-found", "too-large", "artifacts-full", "storage-full", "too-many-requests"],
  access: fenced("held against the attempt, whose start policy has decided"),
  callers: ["worker"],
  retry: "with-key",
  creates: "art",
  replay: "again",
  timeoutMs: limits.transferStepMs,
});
