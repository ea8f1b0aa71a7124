// What people ask about the audit log beside its list: all of it as lines, one record with the proof of its place, and room.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { AuditId } from "./ids.ts";
import { limits } from "./limits.ts";
import { AuditRecord, listAudit } from "./policy.ts";

const { limit: _, cursor: __, ...filters } = listAudit.request.shape;
const after = z
  .int()
  .min(0)
  .default(0)
  .describe("Only records with a greater `seq`: where an export that was cut off goes on");

/** Query of `GET /v0/audit/export`. */
export const AuditExportQuery = z.strictObject({ ...filters, after });

/** Its bytes are the records, one a line, as they are stored and hashed. */
export const AuditPage = z.object({
  after: z.int().describe("Give back as `after` for the next page; moves also where nothing was found"),
  until: z.int().describe("The newest record when this was asked first; the same for the next page"),
});

export const exportAudit = defineOperation({
  name: "policy.export",
  kind: "pages",
  summary: "Read audit records as they are hashed, oldest first",
  http: { method: "GET", path: "/audit/export", status: 200, query: AuditExportQuery },
  request: z.strictObject({ ...filters, after, until_seq: z.int().min(0).optional() }),
  reply: AuditPage,
  bytes: "reply",
  problems: ["invalid-request", "policy-denied"],
  access: { action: "read_audit", resource: "Audit", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

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
