import { type MemoryHit, searchMemory } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { type Output, printJson } from "../terminal.ts";
import { visible } from "../text.ts";

const about = (field: keyof typeof searchMemory.request.shape) => searchMemory.request.shape[field].description ?? "";

const options = {
  count: { type: "text", short: "n", value: "N", about: `${about("k")} (10)` },
  kind: { type: "text", value: "note|document", about: "Only notes, or only documents" },
  author: { type: "text", value: "NAME", about: "Only what this author said" },
  thread: { type: "text", value: "NAME", about: "Only this conversation" },
  label: { type: "list", short: "l", value: "K=V", about: about("label") },
  intent: { type: "text", value: "ID", about: "Only what belongs to this intent" },
  after: { type: "text", value: "TIME", about: about("after") },
  before: { type: "text", value: "TIME", about: about("before") },
  trust: { type: "text", value: "LEVEL", about: "user, agent, tool or untrusted: nothing less trusted" },
  owner: { type: "text", value: "NAME", about: about("owner") },
} as const satisfies Options;

export const memorySearch = defineCommand({
  usage: "memory search [OPTION…] WORD…",
  about: "Find notes and passages of documents, the best first, each with where it stands",
  options,
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "WORD" },
  notes: ["Exits 1 when nothing was found."],
  examples: ["aether memory search where is the backup disk", "aether memory search -n 3 --label project=boat grease"],
  async run({ values, operands, json, terminal: { out }, connect }) {
    const query = searchMemory.request.safeParse({
      q: operands.join(" "),
      ...(values.count !== undefined && { k: Number(values.count) }),
      ...{ kind: values.kind, author: values.author, thread: values.thread, intent_id: values.intent },
      ...{ after: values.after, before: values.before, min_trust: values.trust, owner: values.owner },
      ...(values.label.length > 0 && { label: [...values.label] }),
    });
    if (!query.success) {
      const [fault] = query.error.issues;
      throw new UsageError(`${String(fault?.path[0])}: ${fault?.message}`);
    }
    const client = await connect();
    const found = await client.memory.search(query.data);
    if (json) printJson(out, found);
    else for (const [i, hit] of found.results.entries()) printHit(out, hit, i > 0);
    return found.results.length > 0 ? exitCodes.done : exitCodes.no;
  },
});

function printHit(
  out: Output,
  { id, author, title, trust, snippet, citation, valid }: MemoryHit,
  isLater: boolean,
): void {
  if (isLater) out.line();
  const state = citation.state === "fresh" ? "" : out.paint("red", `  ${citation.state}`);
  const doubt = trust === "user" ? "" : out.paint("yellow", `  ${trust}`);
  out.line(`${out.paint("bold", visible(citation.ref))}${state}${doubt}`);
  out.line(out.paint("dim", `  ${id}  ${visible(author)}  ${valid.from.slice(0, 10)}  ${visible(title)}`));
  for (const line of snippet.split("\n")) out.line(`  ${marked(out, line)}`);
}

/** The marks as a format, where formats are shown. */
function marked(out: Output, line: string): string {
  return visible(line).replaceAll(/<mark>(.*?)<\/mark>/g, (_, word: string) => out.paint("bold", word));
}
