import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { formatBytes } from "../format.ts";
import { printJson } from "../terminal.ts";

export const auditArchive = defineCommand({
  usage: "audit archive",
  about: "Seal what is not sealed yet of the audit log into a segment, which makes room",
  options: {},
  operands: { min: 0, max: 0, name: "" },
  notes: ["It happens by itself as the log grows; where the log is full this still finds room."],
  async run({ json, terminal: { out }, connect }) {
    const client = await connect();
    const made = await client.audit.archive();
    if (json) printJson(out, made);
    else {
      for (const { file, first_seq, last_seq, bytes } of made.segments)
        out.line(`sealed records ${first_seq} to ${last_seq} in ${file} (${formatBytes(bytes)})`);
      out.line(`${formatBytes(made.unsealed_bytes)} of ${formatBytes(made.max_bytes)} are not sealed`);
    }
    return exitCodes.done;
  },
});
