import { limits } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printQuotas } from "../quota-table.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { printJson } from "../terminal.ts";

const options = {
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageDefault})` },
} as const satisfies Options;

export const quotaList = defineCommand({
  usage: "quota ls [OPTION…]",
  about: "List who uses how much of what they may use at once; operators see everybody",
  options,
  operands: { min: 0, max: 0, name: "" },
  async run({ values, json, terminal: { out }, connect }) {
    const limit = toLimit(values.limit);
    const client = await connect();
    const { items, next_cursor } = await readPages(limit, (place) => client.quotas.list(place));
    if (json) printJson(out, { items, next_cursor });
    else printQuotas(out, items);
    return exitCodes.done;
  },
});
