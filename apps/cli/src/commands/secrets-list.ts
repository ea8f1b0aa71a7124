import type { Secret } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { formatAgo, formatBytes } from "../format.ts";
import { type Output, printJson } from "../terminal.ts";
import { alignColumns, shorten, visible } from "../text.ts";

const labelColumns = 40;

const options = {
  quiet: { type: "flag", short: "q", about: "Only names" },
} as const satisfies Options;

export const secretsList = defineCommand({
  usage: "secrets ls [OPTION…]",
  about: "List your secrets: what they are called and when they were set and used, never what they are",
  options,
  operands: { min: 0, max: 0, name: "" },
  async run({ values, json, terminal: { out }, connect }) {
    const client = await connect();
    const { items, next_cursor } = await client.secrets.list();
    if (json) printJson(out, { items, next_cursor });
    else if (values.quiet) for (const { name } of items) out.line(name);
    else printTable(out, items);
    return exitCodes.done;
  },
});

function printTable(out: Output, secrets: readonly Secret[]): void {
  const now = Date.now();
  const rows = secrets.map(({ name, version, size_bytes, updated_at, last_used_at, labels }) => [
    name,
    String(version),
    formatBytes(size_bytes),
    formatAgo(updated_at, now),
    formatAgo(last_used_at, now),
    shorten(visible(toText(labels)), labelColumns),
  ]);
  const names = ["SECRET", "VERSION", "SIZE", "SET", "USED", "LABELS"];
  const [head = "", ...lines] = alignColumns([names, ...rows]);
  out.line(out.paint("bold", head));
  for (const line of lines) out.line(line);
}

function toText(labels: Secret["labels"]): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
}
