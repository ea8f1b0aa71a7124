// Whether a job may start, as policy is asked: ahead, when it is submitted, and at each attempt's start, when it counts. Both
// times the same is asked, on behalf of the owner and bound to the digest of exactly what would run, so that a person's yes to
// the one is a yes to the other and to nothing else.
import { createHash } from "node:crypto";
import { type Bus, request } from "@aether/bus";
import {
  createId,
  type DecideReply,
  type DecisionContext,
  decide,
  type JobSpec,
  type Preview,
  type Principal,
  requireBytes,
  requireDurationMs,
} from "@aether/contracts";
import { type Agents, principalOfOwner } from "./agents.ts";
import type { StoredJob } from "./job.ts";

type Startable = Pick<
  StoredJob,
  "id" | "owner" | "submitter_uid" | "spec" | "digest" | "inputs" | "intent_id" | "traceparent" | "attempt"
>;

/** Asks about the next attempt: `ask` looks ahead and uses nothing up, `consume` is the start itself. */
export async function decideStart(
  { bus, agents }: { bus: Bus; agents: Pick<Agents, "get"> },
  job: Startable,
  mode: "ask" | "consume",
): Promise<DecideReply> {
  const requestId = createId("req");
  const attempt = job.attempt + 1;
  const { reply } = await request(
    bus,
    decide,
    {
      principal: await starterOf(agents, job),
      action: "start_job",
      resource: { type: "Job", id: job.id, owner: job.owner, labels: job.spec.labels },
      context: { ...decisionContext(job.spec), attempt },
      record: "before",
      request_id: requestId,
      intent_id: job.intent_id,
      job_id: job.id,
      digest: job.digest,
      ask: { mode, subject: job.id, attempt, preview: previewOf(job) },
    },
    { envelope: { request_id: requestId, ...(job.traceparent && { traceparent: job.traceparent }) } },
  );
  return reply;
}

/** Facts about a spec that policies may look at. */
export function decisionContext(spec: JobSpec): DecisionContext {
  return {
    timeout_ms: requireDurationMs(spec.timeout),
    cpus_milli: Math.round((spec.resources.cpus ?? 0) * 1000),
    memory_bytes: requireBytes(spec.resources.memory ?? 0),
    disk_bytes: requireBytes(spec.resources.disk),
    pids: spec.resources.pids,
    pool: spec.pool,
    priority: spec.priority,
    network: spec.network.mode,
    ...(spec.secrets.length > 0 && { secrets: [...new Set(spec.secrets.map(({ secret }) => secret))].sort() }),
  };
}

/** SHA-256 of exactly what will run, on which bytes, and with which values of its secrets, of which it tells nothing. */
export function startDigest(spec: JobSpec, { inputs, secrets }: Pick<StoredJob, "inputs" | "secrets">): string {
  const pinned = inputs.map(({ artifact, sha256 }) => [artifact, sha256]);
  const values = secrets.map(({ id, value_id }) => [id, value_id]);
  return sha256Of(JSON.stringify({ spec, inputs: pinned, secrets: values }));
}

function sha256Of(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

/** The owner, with the rights that he has while he is away, and the uid that must not answer for him. */
async function starterOf(agents: Pick<Agents, "get">, { owner, submitter_uid }: Startable): Promise<Principal> {
  return { ...(await principalOfOwner(agents, owner)), ...(submitter_uid != null && { uid: submitter_uid }) };
}

/** What a person is shown. */
function previewOf({ spec, inputs }: Startable): Preview {
  const { command, resources, stdin } = spec;
  const pinned = new Map(inputs.map((input) => [input.artifact, input]));
  const network = spec.network.mode === "none" ? "without network" : "with network";
  const as = spec.attach ? ` as agent ${spec.attach.agent}` : "";
  return {
    kind: "job",
    words: `run ${command[0]}${as}, ${network}, for at most ${spec.timeout}`,
    argv: command,
    image: null,
    workdir: spec.working_dir,
    pool: spec.pool,
    limits: {
      cpus: resources.cpus ?? 0,
      memory_bytes: requireBytes(resources.memory ?? 0),
      disk_bytes: requireBytes(resources.disk),
      pids: resources.pids,
      timeout_ms: requireDurationMs(spec.timeout),
      attempts: spec.retry?.max_attempts ?? 1,
    },
    network: [],
    inputs: spec.inputs.flatMap(({ artifact, path }) => {
      const input = pinned.get(artifact);
      return input ? [{ path, artifact, sha256: input.sha256, size_bytes: input.size_bytes }] : [];
    }),
    env: Object.keys(spec.env),
    secrets: spec.secrets.map(({ secret }) => secret),
    stdin: stdin === null ? null : { size_bytes: Buffer.byteLength(stdin), sha256: sha256Of(stdin) },
  };
}
