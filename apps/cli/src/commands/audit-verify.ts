import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { noteKey, type Report, readBatches, startVerification } from "@aether/chain";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { createProgress } from "../progress.ts";
import { printJson } from "../terminal.ts";
import { visible } from "../text.ts";

const options = {
  checkpoints: {
    type: "text",
    value: "DIR",
    about: "With FILEs: the folder that holds audit-checkpoints and audit-checkpoint.pub",
  },
} as const satisfies Options;

export const auditVerify = defineCommand({
  usage: "audit verify [--checkpoints DIR FILE…]",
  about: "Verify the hash chain and the signed checkpoints of the audit log, or of a copy of it",
  options,
  operands: { min: 0, max: Number.POSITIVE_INFINITY, name: "FILE" },
  notes: [
    "With FILEs, of an export or of the log folder, oldest first, nothing is asked of the services: the copy is held against the",
    "checkpoints of the second place. Exits 0 only when the log is intact.",
  ],
  examples: [
    "aether audit verify",
    "aether audit verify --checkpoints /var/log/aether/audit /var/log/aether/audit/audit-*.log",
  ],
  async run({ values: { checkpoints }, operands: files, json, terminal, connect }) {
    if (files.length > 0 !== (checkpoints !== undefined)) throw new UsageError("FILE and --checkpoints go together");
    using progress = createProgress(terminal.err);
    progress.say("verifying the audit log");
    const found: Report & { segments?: number } =
      checkpoints === undefined
        ? await connect().then((client) => client.audit.verify())
        : await verifyCopy(checkpoints, files);
    progress.clear();
    const { out } = terminal;
    const isIntact = found.state === "intact";
    if (json) printJson(out, found);
    else {
      const state = out.paint(isIntact ? "green" : "red", found.state);
      const segments = found.segments === undefined ? "" : `, ${found.segments} segments`;
      out.line(`${state}: ${found.records} records, ${found.checkpoints} signed checkpoints${segments}`);
      if (found.last_hash) out.line(`last hash ${visible(found.last_hash)} (seq ${found.last_seq})`);
      for (const { seq, fault } of found.faults) out.line(`  ${seq === null ? "" : `seq ${seq}: `}${visible(fault)}`);
    }
    return isIntact ? exitCodes.done : exitCodes.no;
  },
});

/** By what the files say alone, and by the key that lies beside the checkpoints. */
async function verifyCopy(folder: string, files: readonly string[]): Promise<Report> {
  const key = noteKey(createPublicKey(await readFile(path.join(folder, "audit-checkpoint.pub"))));
  const name = path.join(folder, "audit-checkpoints");
  const verification = startVerification([{ name, content: await readFile(name, "utf8") }], key, { isCopy: true });
  for (const file of files) await verification.walk(readBatches(file));
  return await verification.report();
}
