import { limits } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { formatAgo } from "../format.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { printJson } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

const options = {
  principal: { type: "text", value: "WHO", about: "Only what this one may, as agent:aurora" },
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageDefault})` },
  quiet: { type: "flag", short: "q", about: "Only ids" },
} as const satisfies Options;

export const grantsList = defineCommand({
  usage: "grants ls [OPTION…]",
  about: "List what was allowed for longer than once: who may what, since when, until when, last used when",
  options,
  operands: { min: 0, max: 0, name: "" },
  async run({ values, json, terminal: { out }, connect }) {
    const limit = toLimit(values.limit);
    const client = await connect();
    const filter = values.principal === undefined ? {} : { principal: values.principal };
    const page = await readPages(limit, (place) => client.grants.list({ ...filter, ...place }));
    if (json) printJson(out, page);
    else if (values.quiet) for (const { id } of page.items) out.line(id);
    else {
      const now = Date.now();
      const rows = page.items.map(({ id, scope, by, expires_at, last_used_at, rule }) => [
        ...[id, scope, visible(by), expires_at.slice(0, 16).replace("T", " "), formatAgo(last_used_at, now)],
        visible(rule.words),
      ]);
      const [head = "", ...lines] = alignColumns([["GRANT", "SCOPE", "BY", "UNTIL", "LAST USED", "ALLOWS"], ...rows]);
      out.line(out.paint("bold", head));
      for (const line of lines) out.line(line);
    }
    return exitCodes.done;
  },
});
