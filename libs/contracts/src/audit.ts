// What people ask about the audit log beside its list: one record with the proof of its place, and room.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { AuditId } from "./ids.ts";
import { limits } from "./limits.ts";
import { AuditRecord } from "./policy.ts";

export const getAudit = defineOperation({
  name: "policy.record",
  kind: "unary",
  summary: "Read an audit record, and whether it stands in the chain that is signed",
  http: { method: "GET", path: "/audit/{id}", status: 200 },
  request: z.strictObject({ id: AuditId }),
  reply: z.object({
    record: AuditRecord,
    proof: z.object({
      state: z
        .enum(["signed", "chained", "broken"])
        .describe(
          "`signed`: the chain holds from here to a signed checkpoint; `chained`: to its end, no checkpoint is due yet; `broken`: `fault` says where not",
        ),
      place: z.string().describe("Where it is stored: `stream`, or the name of a sealed segment"),
      checkpoint_seq: z.int().nullable().describe("The record that the checkpoint speaks of"),
      fault: z.string().nullable(),
    }),
  }),
  problems: ["invalid-request", "not-found", "policy-denied"],
  access: { action: "read_audit", resource: "Audit", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const archiveAudit = defineOperation({
  name: "policy.archive",
  kind: "unary",
  summary: "Seal what is not sealed yet of the audit log into a segment, which makes room",
  http: { method: "POST", path: "/audit/archive", status: 200 },
  request: z.strictObject({}),
  reply: z.object({
    segments: z
      .array(z.object({ file: z.string(), first_seq: z.int(), last_seq: z.int(), bytes: z.int() }))
      .describe("What was sealed now, oldest first"),
    unsealed_bytes: z.int().describe("What is in the stream alone"),
    max_bytes: z.int().describe("What the stream may hold"),
  }),
  problems: ["policy-denied", "audit-unavailable", "storage-full"],
  access: { action: "archive_audit", resource: "Audit", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "safe",
  timeoutMs: 2 * limits.requestDeadlineMs,
});
