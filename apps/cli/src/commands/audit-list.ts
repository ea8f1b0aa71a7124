import { limits, listAudit } from "@aether/contracts";
import { printAudit } from "../audit-table.ts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { printJson } from "../terminal.ts";

const about = (field: keyof typeof listAudit.request.shape) => listAudit.request.shape[field].description ?? "";

const options = {
  actor: { type: "text", value: "NAME", about: about("actor") },
  action: { type: "text", value: "NAME", about: "submit_job, start_job, stop_job, …" },
  job: { type: "text", value: "ID", about: "Only records about this job" },
  intent: { type: "text", value: "ID", about: "Only records about this intent" },
  decision: { type: "text", value: "allow|deny", about: "Only what was decided so" },
  kind: { type: "text", value: "NAME", about: "decision, outcome, summary, denials, …" },
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageDefault})` },
} as const satisfies Options;

export const auditList = defineCommand({
  usage: "audit ls [OPTION…]",
  about: "List audit records: who did what, what policy said, and what came of it; the newest last",
  options,
  operands: { min: 0, max: 0, name: "" },
  examples: ["aether audit ls --decision deny", "aether audit ls --job job_01k… --json"],
  async run({ values, json, terminal, connect }) {
    const filters = listAudit.request.omit({ limit: true, cursor: true }).safeParse({
      actor: values.actor,
      action: values.action,
      job_id: values.job,
      intent_id: values.intent,
      decision: values.decision,
      kind: values.kind,
    });
    if (!filters.success) {
      const [fault] = filters.error.issues;
      throw new UsageError(`--${String(fault?.path[0]).replace("_id", "")}: ${fault?.message}`);
    }
    const limit = toLimit(values.limit);
    const client = await connect();
    const { items, next_cursor } = await readPages(limit, (place) => client.audit.list({ ...filters.data, ...place }));
    if (json) printJson(terminal.out, { items, next_cursor });
    else printAudit(terminal.out, items);
    return exitCodes.done;
  },
});
