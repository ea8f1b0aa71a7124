import { limits } from "@aether/contracts";
import { auditFilters, toFilters } from "../audit-filters.ts";
import { printAudit } from "../audit-table.ts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { printJson } from "../terminal.ts";

const options = {
  ...auditFilters,
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageDefault})` },
} as const satisfies Options;

export const auditList = defineCommand({
  usage: "audit ls [OPTION…]",
  about: "List audit records: who did what, what policy said, and what came of it; the newest last",
  options,
  operands: { min: 0, max: 0, name: "" },
  examples: ["aether audit ls --decision deny --since 1d", "aether audit ls --job job_01k… --json"],
  async run({ values, json, terminal, connect }) {
    const filters = toFilters(values);
    const limit = toLimit(values.limit);
    const client = await connect();
    const { items, next_cursor } = await readPages(limit, (place) => client.audit.list({ ...filters, ...place }));
    if (json) printJson(terminal.out, { items, next_cursor });
    else printAudit(terminal.out, items);
    return exitCodes.done;
  },
});
