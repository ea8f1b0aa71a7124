import { type Artifact, limits, listArtifacts } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { formatAgo, formatBytes } from "../format.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { type Output, printJson } from "../terminal.ts";
import { alignColumns, shorten, visible } from "../text.ts";

const nameColumns = 40;

const options = {
  job: { type: "text", value: "ID", about: "Only those of this job" },
  intent: { type: "text", value: "ID", about: "Only those of this intent" },
  type: { type: "text", value: "TYPE", about: "Only of this media type" },
  sha256: { type: "text", value: "HEX", about: "Only with these bytes" },
  label: { type: "list", short: "l", value: "K=V", about: "Only with this label" },
  quiet: { type: "flag", short: "q", about: "Only ids" },
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageDefault})` },
} as const satisfies Options;

export const artifactsList = defineCommand({
  usage: "artifacts ls [OPTION…]",
  about: "List artifacts, newest first",
  options,
  operands: { min: 0, max: 0, name: "" },
  examples: ["aether artifacts ls --job job_01k…", "aether artifacts rm $(aether artifacts ls -q --label team=docs)"],
  async run({ values, json, terminal: { out }, connect }) {
    const filters = listArtifacts.request.omit({ limit: true, cursor: true }).safeParse({
      job_id: values.job,
      intent_id: values.intent,
      type: values.type,
      sha256: values.sha256,
      ...(values.label.length > 0 && { label: [...values.label] }),
    });
    if (!filters.success) {
      const [fault] = filters.error.issues;
      throw new UsageError(`--${String(fault?.path[0]).replace("_id", "")}: ${fault?.message}`);
    }
    const limit = toLimit(values.limit);
    const client = await connect();
    const { items, next_cursor } = await readPages(limit, (place) =>
      client.artifacts.list({ ...filters.data, ...place }),
    );
    if (json) printJson(out, { items, next_cursor });
    else if (values.quiet) for (const artifact of items) out.line(artifact.id);
    else printTable(out, items);
    return exitCodes.done;
  },
});

function printTable(out: Output, artifacts: Artifact[]): void {
  const now = Date.now();
  const rows = artifacts.map(({ id, name, type, size_bytes, created_at }) => [
    id,
    shorten(visible(name), nameColumns),
    type,
    formatBytes(size_bytes),
    formatAgo(created_at, now),
  ]);
  const [head = "", ...lines] = alignColumns([["ARTIFACT", "NAME", "TYPE", "SIZE", "CREATED"], ...rows]);
  out.line(out.paint("bold", head));
  for (const line of lines) out.line(line);
}
