// The filters that commands about the audit log share.
import { limits, listAudit } from "@aether/contracts";
import type { Options, Values } from "./command.ts";
import { toSince } from "./commands/logs.ts";
import { UsageError } from "./failure.ts";

const about = (field: keyof typeof listAudit.request.shape) => listAudit.request.shape[field].description ?? "";

export const auditFilters = {
  actor: { type: "text", value: "NAME", about: about("actor") },
  action: { type: "text", value: "NAME", about: "submit_job, start_job, stop_job, …" },
  job: { type: "text", value: "ID", about: "Only records about this job" },
  intent: { type: "text", value: "ID", about: "Only records about this intent" },
  decision: { type: "text", value: "OUTCOME", about: "Only what was decided so: allow, deny" },
  kind: { type: "text", value: "NAME", about: "decision, outcome, summary, denials, …" },
  since: { type: "text", value: "TIME", about: "Only what was written within this (10m), or at or after this time" },
  until: { type: "text", value: "TIME", about: "Only what was written before this time, or longer ago than this" },
} as const satisfies Options;

/** The filters of a request; throws UsageError. */
export function toFilters(values: Values<typeof auditFilters>) {
  const time = (text: string | undefined) => (text === undefined ? undefined : toSince(text, limits.auditSinceMaxMs));
  const parsed = listAudit.request.omit({ limit: true, cursor: true, digest: true }).safeParse({
    ...{ actor: values.actor, action: values.action, job_id: values.job, intent_id: values.intent },
    ...{ decision: values.decision, kind: values.kind, since: time(values.since), until: time(values.until) },
  });
  if (parsed.success) return parsed.data;
  const [fault] = parsed.error.issues;
  throw new UsageError(`--${String(fault?.path[0]).replace("_id", "")}: ${fault?.message}`);
}
