import { limits, type PolicyEntry } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { type Output, printJson } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

const options = {
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageMax})` },
} as const satisfies Options;

export const policyList = defineCommand({
  usage: "policy ls [OPTION…]",
  about: "List the policies that answer now: what each permits or forbids in its own words, and where it stands",
  options,
  operands: { min: 0, max: 0, name: "" },
  notes: ["Warnings of the validator, and why newer files do not answer, are told on standard error."],
  async run({ values, json, terminal: { out, err }, connect }) {
    const client = await connect();
    const rest = { policy_version: "", warnings: [] as string[], error: null as string | null };
    const { items, next_cursor } = await readPages(toLimit(values.limit ?? String(limits.pageMax)), async (place) => {
      const { policy_version, warnings, error, ...page } = await client.policy.list(place);
      Object.assign(rest, { policy_version, warnings, error });
      return page;
    });
    if (json) printJson(out, { ...rest, items, next_cursor });
    else {
      printTable(out, items);
      for (const warning of rest.warnings) err.line(`warning: ${visible(warning)}`);
      if (rest.error) err.line(`newer policies do not answer:\n${rest.error.split("\n").map(visible).join("\n")}`);
    }
    return exitCodes.done;
  },
});

function printTable(out: Output, policies: PolicyEntry[]): void {
  const rows = policies.map(({ id, effect, ask, origin, file, line, reason }) => [
    ...[id, ask === null ? effect : `${effect}, ask`, origin, `${visible(file)}:${line}`, visible(reason)],
  ]);
  const [head = "", ...lines] = alignColumns([["POLICY", "EFFECT", "OF", "FILE", "BECAUSE"], ...rows]);
  out.line(out.paint("bold", head));
  for (const line of lines) out.line(line);
}
