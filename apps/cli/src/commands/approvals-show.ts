import { printApproval, printOptions } from "../approval-text.ts";
import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const approvalsShow = defineCommand({
  usage: "approvals show ID…",
  about: "Show exactly what would be done, by whom, within which limits, and which answers there are",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ID" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const [i, id] of operands.entries()) {
      const approval = await client.approvals.get(id);
      if (json) {
        printJsonLine(out, approval);
        continue;
      }
      if (i > 0) out.line();
      printApproval(out, approval);
      if (approval.state !== "pending") continue;
      out.line(`\n${out.paint("bold", "Answers")}`);
      printOptions(out, approval);
      out.line(`\n${out.paint("dim", `aether approvals answer ${id} once`)}`);
    }
    return exitCodes.done;
  },
});
