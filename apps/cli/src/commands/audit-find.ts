import { createHash } from "node:crypto";
import { limits } from "@aether/contracts";
import { printAudit } from "../audit-table.ts";
import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { readPages } from "../read-pages.ts";
import { printJson } from "../terminal.ts";

export const auditFind = defineCommand({
  usage: "audit find <FILE",
  about: "Find the records about exactly these bytes, which are read from standard input",
  options: {},
  operands: { min: 0, max: 0, name: "" },
  notes: [
    "Records name what was decided by a keyed digest, from which nothing can be guessed. Whoever has the thing itself, the bytes of",
    "an artifact or the JSON of a request, can ask what was done with it. Only its SHA-256 is sent. Exits 1 where there is nothing.",
  ],
  examples: ["aether audit find <report.pdf"],
  async run({ json, stdin, terminal: { out }, connect }) {
    const digest = createHash("sha256");
    for await (const chunk of stdin) digest.update(chunk as Buffer);
    const wanted = { digest: `sha256:${digest.digest("hex")}` };
    const client = await connect();
    const { items } = await readPages(limits.pageMax, (place) => client.audit.list({ ...wanted, ...place }));
    if (json) printJson(out, { items });
    else if (items.length > 0) printAudit(out, items);
    else out.line("no record is about this");
    return items.length > 0 ? exitCodes.done : exitCodes.no;
  },
});
