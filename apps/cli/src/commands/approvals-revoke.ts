import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const approvalsRevoke = defineCommand({
  usage: "approvals revoke ID…",
  about: "Take back a yes that is not used yet, or withdraw your own question",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ID" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const id of operands) {
      const approval = await client.approvals.revoke(id);
      if (json) printJsonLine(out, approval);
      else out.line(`${approval.id} ${approval.state}`);
    }
    return exitCodes.done;
  },
});
