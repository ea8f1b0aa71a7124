import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { parseLine } from "@aether/chain";
import { auditFilters, toFilters } from "../audit-filters.ts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, Failure, UsageError } from "../failure.ts";
import { patienceMs } from "../patience.ts";
import { createProgress } from "../progress.ts";
import { printJsonLines } from "../terminal.ts";

/** More than any record takes. */
const lineMaxBytes = 1024 * 1024;

const options = {
  ...auditFilters,
  output: { type: "text", short: "o", value: "FILE", about: "Where to write it; standard output where absent" },
  resume: { type: "flag", about: "Go on behind the last whole record of FILE" },
  after: { type: "text", value: "SEQ", about: "Only records behind this one" },
} as const satisfies Options;

export const auditExport = defineCommand({
  usage: "audit export [OPTION…]",
  about: "Write audit records as JSON, one a line, oldest first, exactly as they are hashed",
  options,
  operands: { min: 0, max: 0, name: "" },
  notes: [
    "Without filters the lines are a copy of the log, which `aether audit verify FILE` verifies. An export outlives services that",
    "restart; one that was cut off goes on with --resume.",
  ],
  examples: [
    "aether audit export -o audit.jsonl",
    "aether audit export --since 1d --action submit_job | jq .actor.id",
    "aether audit export -o audit.jsonl --resume",
  ],
  async run({ values, terminal, connect }) {
    const filters = toFilters(values);
    if (values.resume && (values.output === undefined || values.after !== undefined))
      throw new UsageError("--resume needs --output, and says itself where it goes on");
    if (values.after !== undefined && !/^\d{1,15}$/.test(values.after))
      throw new UsageError("--after must be a number");
    const client = await connect();
    await using target = values.output === undefined ? null : await openTarget(values.output, values.resume);
    using progress = createProgress(terminal.err);
    const after = target?.after ?? Number(values.after ?? 0);
    let count = 0;
    for await (const records of client.audit.export({ ...filters, after, resumeForMs: patienceMs })) {
      if (target) await target.handle.appendFile(records.map((record) => `${JSON.stringify(record)}\n`).join(""));
      else await printJsonLines(terminal.out, records);
      count += records.length;
      if (target) progress.say(`${count} records`);
      if (terminal.closed.aborted) break;
    }
    progress.clear();
    return exitCodes.done;
  },
});

/** A new file, or one that an export before left, cut behind its last whole record. */
async function openTarget(
  file: string,
  resume: boolean,
): Promise<{ handle: FileHandle; after: number } & AsyncDisposable> {
  const { O_RDWR, O_CREAT, O_EXCL, O_APPEND } = constants;
  const handle = await open(file, O_RDWR | O_APPEND | O_CREAT | (resume ? 0 : O_EXCL), 0o600).catch((error) => {
    if (error.code !== "EEXIST") throw error;
    throw new Failure(`${file} is there already`, { next: "name another file, or go on with --resume" });
  });
  const dispose = () => handle.close();
  try {
    return { handle, after: await cutBehindLast(file, handle), [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function cutBehindLast(file: string, handle: FileHandle): Promise<number> {
  const { size } = await handle.stat();
  const from = Math.max(0, size - 2 * lineMaxBytes);
  const buffer = Buffer.alloc(size - from);
  await handle.read(buffer, 0, buffer.length, from);
  const whole = buffer.subarray(0, buffer.lastIndexOf("\n") + 1);
  await handle.truncate(from + whole.length);
  if (whole.length === 0) return 0;
  const last = whole.subarray(whole.subarray(0, -1).lastIndexOf("\n") + 1).toString();
  const seq = parseLine(last)?.seq;
  if (Number.isSafeInteger(seq)) return Number(seq);
  throw new Failure(`${file} does not end with an audit record`, { next: "name the file that the export wrote" });
}
