// Reading on behalf of somebody who did not ask here himself: policy decides about him, and the audit log names him.
import { type Bus, request } from "@aether/bus";
import { createId, decide, type Principal } from "@aether/contracts";
import type { StoredArtifact } from "./record.ts";

/** Whether this principal may read an artifact now. */
export async function mayRead(
  bus: Bus,
  principal: Principal,
  { id, owner, labels, sha256 }: StoredArtifact,
  about: { intentId: string | null; jobId: string | null; token?: string | undefined },
): Promise<boolean> {
  const { reply } = await request(
    bus,
    decide,
    {
      ...{ principal, action: "read_artifact", resource: { type: "Artifact", id, owner, labels } },
      ...(about.token !== undefined && { token: about.token }),
      ...{ context: {}, record: "before", request_id: createId("req") },
      ...{ intent_id: about.intentId, job_id: about.jobId, digest: `sha256:${sha256}` },
    },
    { envelope: { request_id: createId("req") } },
  );
  return reply.outcome === "allow";
}
