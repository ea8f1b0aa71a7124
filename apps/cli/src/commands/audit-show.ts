import type { AuditRecord } from "@aether/contracts";
import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { type Output, printJson } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

export const auditShow = defineCommand({
  usage: "audit show ID",
  about: "Show all of an audit record, and whether it stands in the chain that is signed",
  options: {},
  operands: { min: 1, max: 1, name: "ID" },
  notes: ["Exits 1 where the chain from the record to the next signed checkpoint is broken."],
  examples: ["aether audit show aud_01k…", "aether audit show aud_01k… --json"],
  async run({ operands: [id = ""], json, terminal: { out }, connect }) {
    const client = await connect();
    const found = await client.audit.get(id);
    const { record, proof } = found;
    if (json) printJson(out, found);
    else {
      printRecord(out, record);
      const stands = {
        signed: `in the chain, up to the signed checkpoint of record ${proof.checkpoint_seq}`,
        chained: "in the chain, up to its end; no checkpoint is due yet",
        broken: `NOT rightly: ${visible(proof.fault ?? "")}`,
      }[proof.state];
      out.line(out.paint(proof.state === "broken" ? "red" : "green", `stands ${stands} (${visible(proof.place)})`));
    }
    return proof.state === "broken" ? exitCodes.no : exitCodes.done;
  },
});

/** Every field that says something, those of objects by their path. */
function printRecord(out: Output, record: AuditRecord): void {
  const rows = fieldsOf(record, "");
  for (const line of alignColumns(rows)) out.line(line);
}

function fieldsOf(value: object, path: string): string[][] {
  return Object.entries(value).flatMap(([key, field]) => {
    if (field === null) return [];
    if (Array.isArray(field)) return [[path + key, visible(field.join(", "))]];
    if (typeof field === "object") return fieldsOf(field, `${path}${key}.`);
    return [[path + key, visible(String(field))]];
  });
}
