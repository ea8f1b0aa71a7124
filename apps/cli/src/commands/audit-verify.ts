import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { createProgress } from "../progress.ts";
import { printJson } from "../terminal.ts";
import { visible } from "../text.ts";

export const auditVerify = defineCommand({
  usage: "audit verify",
  about: "Verify the hash chain and the signed checkpoints of the audit log",
  options: {},
  operands: { min: 0, max: 0, name: "" },
  notes: ["Exits 0 only when the log is intact."],
  async run({ json, terminal, connect }) {
    const client = await connect();
    using progress = createProgress(terminal.err);
    progress.say("verifying the audit log");
    const found = await client.audit.verify();
    progress.clear();
    const { out } = terminal;
    const isIntact = found.state === "intact";
    if (json) printJson(out, found);
    else {
      const state = out.paint(isIntact ? "green" : "red", found.state);
      out.line(
        `${state}: ${found.records} records, ${found.checkpoints} signed checkpoints, ${found.segments} segments`,
      );
      if (found.last_hash) out.line(`last hash ${visible(found.last_hash)} (seq ${found.last_seq})`);
      for (const { seq, fault } of found.faults) out.line(`  ${seq === null ? "" : `seq ${seq}: `}${visible(fault)}`);
    }
    return isIntact ? exitCodes.done : exitCodes.no;
  },
});
