import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const grantsRemove = defineCommand({
  usage: "grants rm ID…",
  about: "Take back what was allowed for longer than once; what has started under it goes on",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ID" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const id of operands) {
      const grant = await client.grants.revoke(id);
      if (json) printJsonLine(out, grant);
      else out.line(grant.id);
    }
    return exitCodes.done;
  },
});
