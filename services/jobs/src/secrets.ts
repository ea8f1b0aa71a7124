// The secrets of a job that is being submitted: each must be one that its submitter may use, which policy decides and records,
// and is pinned to the value that it has now. What may not be used is as what is not there.
import { type Bus, type Call, request } from "@aether/bus";
import {
  createId,
  decide,
  describeSecret,
  type JobSecret,
  type JobSpec,
  type Principal,
  ProblemError,
  principalName,
  secretIdOf,
  secretPathOf,
} from "@aether/contracts";

/** The spec with every secret under its full name, in its place. */
export function nameSecrets(spec: JobSpec, principal: Principal): JobSpec {
  const owner = principalName(principal);
  const secrets = spec.secrets.map((one) => ({ secret: secretIdOf(one.secret, owner), path: secretPathOf(one) }));
  return { ...spec, secrets };
}

/** The values that a spec's secrets have; throws ProblemError that names those that cannot be had. */
export async function resolveSecrets(bus: Bus, spec: JobSpec, call: Call): Promise<JobSecret[]> {
  const ids = [...new Set(spec.secrets.map(({ secret }) => secret))];
  // Together: records that are written at the same time are synced at once.
  const found = new Map(await Promise.all(ids.map(async (id) => [id, await resolve(bus, id, call)] as const)));
  const errors = spec.secrets.flatMap(({ secret }, i) =>
    found.get(secret) ? [] : [{ path: `secrets.${i}.secret`, message: `there is no secret ${secret}` }],
  );
  if (errors.length === 0) return [...found.values()].filter((secret) => secret !== null);
  throw new ProblemError("invalid-request", {
    detail: errors
      .map(({ path, message }) => `${path}: ${message}`)
      .join("; ")
      .slice(0, 500),
    errors,
  });
}

async function resolve(bus: Bus, id: string, call: Call): Promise<JobSecret | null> {
  const envelope = { envelope: { request_id: call.requestId } };
  const described = await request(bus, describeSecret, { id }, envelope).catch((error: unknown) => {
    if (error instanceof ProblemError && error.slug === "not-found") return null;
    throw error;
  });
  if (!described) return null;
  const { owner, labels, value_id } = described.reply;
  const { reply } = await request(
    bus,
    decide,
    {
      ...{ principal: call.principal, action: "use_secret", resource: { type: "Secret", id, owner, labels } },
      ...{ context: {}, record: "before", request_id: createId("req") },
      ...{ intent_id: call.intentId, job_id: call.createdId, digest: null },
      ...(call.token !== undefined && { token: call.token }),
    },
    envelope,
  );
  return reply.outcome === "allow" ? { id, value_id } : null;
}
