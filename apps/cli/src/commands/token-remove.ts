import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const tokenRemove = defineCommand({
  usage: "token rm TOKEN…",
  about: "Revoke tokens by their ids, and with each every token that was made with it",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "TOKEN" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const id of operands) {
      const revoked = await client.tokens.revoke(id);
      if (json) printJsonLine(out, revoked);
      else out.line(revoked.id);
    }
    return exitCodes.done;
  },
});
