import { getEntry } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { type Output, printJson } from "../terminal.ts";
import { alignColumns, visible, visibleLines } from "../text.ts";

const about = (field: keyof typeof getEntry.request.shape) => getEntry.request.shape[field].description ?? "";

const options = {
  lines: { type: "text", value: "N-M", about: about("lines") },
  context: { type: "text", short: "C", value: "N", about: about("context") },
} as const satisfies Options;

export const memoryShow = defineCommand({
  usage: "memory show [OPTION…] ENTRY",
  about: "Show an entry: where it is from, how far it may be trusted, and its words",
  options,
  operands: { min: 1, max: 1, name: "ENTRY" },
  notes: ["ENTRY is an id, or what a search printed: mem_01k…#L10-L14."],
  examples: ["aether memory show mem_01k… --lines 10-14 -C 3"],
  async run({ values, operands, json, terminal: { out }, connect }) {
    const [id, first, last] = /^([^#]*)(?:#L(\d+)(?:-L(\d+))?)?$/.exec(operands[0] ?? "")?.slice(1) ?? [];
    const lines = values.lines ?? (first && `${first}-${last ?? first}`);
    const asked = getEntry.request.safeParse({
      ...{ id, ...(lines && { lines }) },
      ...(values.context !== undefined && { context: Number(values.context) }),
    });
    if (!asked.success) {
      const [fault] = asked.error.issues;
      throw new UsageError(`${String(fault?.path[0])}: ${fault?.message}`);
    }
    const client = await connect();
    const { id: entry, ...rest } = asked.data;
    const found = await client.memory.get(entry, { context: rest.context, ...(rest.lines && { lines: rest.lines }) });
    if (json) printJson(out, found);
    else printEntry(out, found);
    return exitCodes.done;
  },
});

function printEntry(
  out: Output,
  { text, citation, provenance, ...entry }: Awaited<ReturnType<typeof getEntry.reply.parse>>,
) {
  const fields: [string, string | null][] = [
    ["title", entry.title],
    ["author", entry.author],
    ["source", entry.source && `${citation.ref} (${citation.state})`],
    ["trust", entry.trust],
    ["made by", `${provenance.created_by.kind} ${provenance.created_by.id}, ${provenance.created_at}`],
    ["made of", provenance.derived_from.join(" ") || null],
    ["valid", `${entry.valid.from} – ${entry.valid.to ?? ""}`],
    ["superseded by", entry.superseded_by],
    ["thread", entry.thread],
    ["intent", provenance.intent_id],
    ["job", provenance.job_id],
  ];
  out.line(out.paint("bold", `${entry.id}  ${entry.kind}`));
  for (const line of alignColumns(fields.flatMap(([name, value]) => (value ? [[`  ${name}`, visible(value)]] : []))))
    out.line(line);
  out.line();
  out.line(visibleLines(text.replaceAll("\r\n", "\n").replace(/\n$/, "")));
}
