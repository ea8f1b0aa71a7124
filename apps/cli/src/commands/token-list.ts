import { limits, type Token } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { formatMs } from "../format.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { printJson } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";
import { fromBinding, fromCapability } from "../token-words.ts";

const options = {
  quiet: { type: "flag", short: "q", about: "Only ids" },
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageDefault})` },
} as const satisfies Options;

export const tokenList = defineCommand({
  usage: "token ls [OPTION…]",
  about: "List the tokens that have not expired, newest first: for whom and what they are, never the tokens themselves",
  options,
  operands: { min: 0, max: 0, name: "" },
  examples: ["aether token rm $(aether token ls -q)"],
  async run({ values, json, terminal: { out }, connect }) {
    const limit = toLimit(values.limit);
    const client = await connect();
    const { items, next_cursor } = await readPages(limit, (place) => client.tokens.list(place));
    if (json) printJson(out, { items, next_cursor });
    else if (values.quiet) for (const { id } of items) out.line(id);
    else {
      const [head = "", ...lines] = alignColumns([["TOKEN", "OWNER", "FOR", "ENDS", "ALLOWS"], ...items.map(toRow)]);
      out.line(out.paint("bold", head));
      for (const line of lines) out.line(line);
    }
    return exitCodes.done;
  },
});

function toRow({ id, owner, bind, capabilities, expires_at, revoked_at }: Token): string[] {
  const ends = revoked_at === null ? `in ${formatMs(Math.max(0, Date.parse(expires_at) - Date.now()))}` : "revoked";
  return [id, owner, fromBinding(bind), ends, capabilities.map(fromCapability).join(" ")].map(visible);
}
