import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const agentsRemove = defineCommand({
  usage: "agents rm NAME…",
  about: "Remove agents: their sockets end at once, nothing of theirs starts any more",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "NAME" },
  notes: ["What they made stays theirs, their folders stay on the host, and their names stay yours."],
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const name of operands) {
      const agent = await client.agents.remove(name);
      if (json) printJsonLine(out, agent);
      else out.line(name);
    }
    return exitCodes.done;
  },
});
