// What passes between memory and artifacts: an artifact that somebody wants kept, or cited, is lent to memory for him. Memory has
// no right of its own to any: artifacts asks policy about the one it names, as a plain member or agent, and the audit log names him.
import { z } from "zod";
import { Sha256 } from "./artifacts.ts";
import { defineOperation } from "./define.ts";
import { Principal } from "./envelope.ts";
import { ArtifactId, IntentId, JobId } from "./ids.ts";
import { limits } from "./limits.ts";

/** For whom memory reads. It can only narrow: what operators may read of others does not come this way. */
const Borrower = Principal.extend({
  type: z.enum(["User", "Agent"]),
  roles: z.array(z.enum(["member", "agent"])).max(1),
});

export const lendArtifact = defineOperation({
  name: "artifacts.lend",
  kind: "unary",
  summary: "Tell memory what an artifact is, and begin to read it, for who asked memory",
  request: z.strictObject({
    id: ArtifactId,
    borrower: Borrower,
    intent_id: IntentId.nullable(),
    token: z.string().max(limits.tokenChars).optional().describe("The capability token that he came with"),
    known: Sha256.nullable().describe("Nothing is read where these are its bytes"),
  }),
  reply: z.object({
    sha256: Sha256,
    size_bytes: z.int(),
    job_id: JobId.nullable(),
    transfer: z.string().nullable().describe("Null where its bytes are known, or more than memory reads"),
  }),
  problems: ["not-found", "too-many-requests", "audit-unavailable"],
  access: { exempt: "fenced", reason: "asks policy for read_artifact on behalf of who asked memory, as a member" },
  callers: ["memory"],
  retry: "safe",
  timeoutMs: limits.transferStepMs,
});
