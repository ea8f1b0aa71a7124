import type { Agent } from "@aether/contracts";
import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { type Output, printJsonLine } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

export const agentsShow = defineCommand({
  usage: "agents show NAME…",
  about: "Show agents: for whom they work, and within which limits",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "NAME" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const [i, name] of operands.entries()) {
      const agent = await client.agents.get(name);
      if (json) printJsonLine(out, agent);
      else {
        if (i > 0) out.line();
        print(out, agent);
      }
    }
    return exitCodes.done;
  },
});

function print(out: Output, { name, owner, limits, created_at, created_by }: Agent): void {
  out.line(out.paint("bold", name));
  const fields = [
    ["owner", owner],
    ["cpus", String(limits.cpus)],
    ["memory", String(limits.memory)],
    ["pids", String(limits.pids)],
    ["disk", String(limits.disk)],
    ["timeout", limits.timeout],
    ["created", `${created_at} by ${created_by}`],
    ["run it", `aether agent run ${name} -- COMMAND`],
  ] as const;
  for (const line of alignColumns(fields.map(([field, value]) => [`  ${field}`, visible(value)]))) out.line(line);
}
