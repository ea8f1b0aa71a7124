// The inputs of a job that is being submitted: each must be an artifact that its submitter may read, which policy decides and
// records, and is pinned by its digest. What may not be read is as what is not there.
import { type Bus, type Call, request } from "@aether/bus";
import { createId, decide, describeArtifact, type JobSpec, ProblemError } from "@aether/contracts";
import type { StoredJob } from "./job.ts";

type Input = StoredJob["inputs"][number];

/** The digests of a spec's inputs; throws ProblemError that names those that cannot be had. */
export async function resolveInputs(bus: Bus, spec: JobSpec, call: Call): Promise<Input[]> {
  const ids = [...new Set(spec.inputs.map(({ artifact }) => artifact))];
  const found = new Map<string, Input | null>();
  for (const id of ids) found.set(id, await resolve(bus, id, call));
  const errors = spec.inputs.flatMap(({ artifact }, i) =>
    found.get(artifact) ? [] : [{ path: `inputs.${i}.artifact`, message: "there is no such artifact" }],
  );
  if (errors.length === 0) return [...found.values()].filter((input) => input !== null);
  throw new ProblemError("invalid-request", {
    detail: errors
      .map(({ path, message }) => `${path}: ${message}`)
      .join("; ")
      .slice(0, 500),
    errors,
  });
}

async function resolve(
  bus: Bus,
  id: string,
  { principal, intentId, createdId, requestId, token }: Call,
): Promise<Input | null> {
  const envelope = { envelope: { request_id: requestId } };
  const described = await request(bus, describeArtifact, { id }, envelope).catch((error: unknown) => {
    if (error instanceof ProblemError && error.slug === "not-found") return null;
    throw error;
  });
  if (!described) return null;
  const { owner, labels, sha256, size_bytes } = described.reply;
  const { reply } = await request(
    bus,
    decide,
    {
      principal,
      action: "read_artifact",
      resource: { type: "Artifact", id, owner, labels },
      context: {},
      ...(token !== undefined && { token }),
      record: "before",
      request_id: createId("req"),
      intent_id: intentId,
      job_id: createdId,
      digest: `sha256:${sha256}`,
    },
    envelope,
  );
  return reply.outcome === "allow" ? { artifact: id, sha256, size_bytes } : null;
}
