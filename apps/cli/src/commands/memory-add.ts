import { randomUUID } from "node:crypto";
import { createReadStream, realpathSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { limits, NewEntry } from "@aether/contracts";
import { defineCommand, type Options, type Values } from "../command.ts";
import { exitCodes, Failure, UsageError } from "../failure.ts";
import { toPairs } from "../job-spec.ts";
import { readStdin } from "../read-stdin.ts";
import { printJson } from "../terminal.ts";

const about = (field: keyof typeof NewEntry.shape) => NewEntry.shape[field].description ?? "";

const options = {
  file: { type: "text", short: "f", value: "FILE", about: "Keep this file as a document; `-` is standard input" },
  artifact: { type: "text", value: "ID", about: "Keep this artifact as a document" },
  title: { type: "text", value: "TEXT", about: about("title") },
  source: { type: "text", value: "URI", about: about("source") },
  author: { type: "text", value: "NAME", about: about("author") },
  thread: { type: "text", value: "NAME", about: about("thread") },
  label: { type: "list", short: "l", value: "K=V", about: about("labels") },
  intent: { type: "text", value: "ID", about: about("intent_id") },
  job: { type: "text", value: "ID", about: about("job_id") },
  from: { type: "list", value: "ID", about: about("derived_from") },
  trust: { type: "text", value: "LEVEL", about: about("trust") },
  expires: { type: "text", value: "TIME", about: about("expires_at") },
  supersedes: { type: "text", value: "ID", about: about("supersedes") },
} as const satisfies Options;

export const memoryAdd = defineCommand({
  usage: "memory add [OPTION…] TEXT | memory add [OPTION…] -f FILE | memory add [OPTION…] --artifact ID",
  about: "Keep a note, or a file or an artifact as a document, and print its id",
  options,
  operands: { min: 0, max: 1, name: "TEXT" },
  examples: [
    "aether memory add 'The backup disk is in the cupboard by the window.'",
    "aether memory add -f docs/guide.md --label project=boat",
    "aether memory add 'Grease it every spring' --source file:///home/ada/guide.md#L10-L14",
  ],
  async run({ values, operands, json, terminal, stdin, connect }) {
    const given = await readGiven(values, operands[0], stdin);
    const entry = NewEntry.safeParse({
      ...given,
      ...{ title: values.title, author: values.author, thread: values.thread, trust: values.trust },
      ...{ intent_id: values.intent, job_id: values.job, expires_at: values.expires, supersedes: values.supersedes },
      ...(values.source !== undefined && { source: values.source }),
      labels: toPairs("--label", values.label),
      derived_from: values.from,
    });
    if (!entry.success) {
      const [fault] = entry.error.issues;
      throw new UsageError(`${String(fault?.path[0])}: ${fault?.message}`);
    }
    const client = await connect();
    const made = await client.memory.add(entry.data, { idempotencyKey: `cli-${randomUUID()}` });
    if (json) printJson(terminal.out, made);
    else terminal.out.line(made.id);
    return exitCodes.done;
  },
});

/** The words themselves, or those of a file or an artifact, which is then their source. */
async function readGiven(values: Values<typeof options>, text: string | undefined, stdin: NodeJS.ReadStream) {
  const { file, artifact } = values;
  if ([text, file, artifact].filter((one) => one !== undefined).length !== 1)
    throw new UsageError("One of TEXT, --file and --artifact is needed");
  if (text !== undefined) return { kind: "note", text };
  if (artifact !== undefined) return { kind: "document", artifact };
  if (values.file === "-" || values.file === undefined) {
    return { kind: "document", text: await readStdin(stdin, limits.memoryTextBytes) };
  }
  try {
    const file = realpathSync(path.resolve(values.file));
    if (await isPdf(file)) return { kind: "document", path: file };
    const read = await readStdin(createReadStream(file), limits.memoryTextBytes);
    return { kind: "document", text: read, source: pathToFileURL(file).href };
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${values.file} cannot be read`, { exitCode: exitCodes.usage, cause: error });
  }
}

/** Whether its text must be told by Aether, which reads the file itself. */
async function isPdf(file: string): Promise<boolean> {
  for await (const start of createReadStream(file, { start: 0, end: 4 })) return String(start) === "%PDF-";
  return false;
}
