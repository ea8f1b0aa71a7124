import type { Agent } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { formatAgo } from "../format.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { type Output, printJson } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

const options = {
  quiet: { type: "flag", short: "q", about: "Only names" },
  limit: { type: "text", short: "n", value: "N", about: "How many at most (50)" },
} as const satisfies Options;

export const agentsList = defineCommand({
  usage: "agents ls [OPTION…]",
  about: "List agents by name",
  options,
  operands: { min: 0, max: 0, name: "" },
  async run({ values, json, terminal: { out }, connect }) {
    const limit = toLimit(values.limit);
    const client = await connect();
    const { items, next_cursor } = await readPages(limit, (place) => client.agents.list(place));
    if (json) printJson(out, { items, next_cursor });
    else if (values.quiet) for (const { name } of items) out.line(name);
    else printTable(out, items);
    return exitCodes.done;
  },
});

function printTable(out: Output, agents: Agent[]): void {
  const now = Date.now();
  const rows = agents.map(({ name, owner, limits: { cpus, memory, disk, timeout }, created_at }) => [
    ...[name, visible(owner), String(cpus), String(memory), String(disk), timeout, formatAgo(created_at, now)],
  ]);
  const columns = ["AGENT", "OWNER", "CPUS", "MEMORY", "DISK", "TIMEOUT", "CREATED"];
  const [head = "", ...lines] = alignColumns([columns, ...rows]);
  out.line(out.paint("bold", head));
  for (const line of lines) out.line(line);
}
