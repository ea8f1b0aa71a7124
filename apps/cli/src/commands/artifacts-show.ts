import type { Artifact } from "@aether/contracts";
import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { formatBytes } from "../format.ts";
import { type Output, printJsonLine } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

export const artifactsShow = defineCommand({
  usage: "artifacts show ARTIFACT…",
  about: "Show an artifact's record, with the path of a verified file on the server's host",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ARTIFACT" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const [i, id] of operands.entries()) {
      const artifact = await client.artifacts.get(id);
      if (json) printJsonLine(out, artifact);
      else {
        if (i > 0) out.line();
        print(out, artifact);
      }
    }
    return exitCodes.done;
  },
});

function print(out: Output, artifact: Artifact): void {
  out.line(out.paint("bold", artifact.id));
  const labels = Object.entries(artifact.labels).map(([key, value]) => `${key}=${value}`);
  const fields: readonly (readonly [string, string | null])[] = [
    ["name", artifact.name],
    ["type", artifact.type],
    ["size", `${formatBytes(artifact.size_bytes)} (${artifact.size_bytes} bytes)`],
    ["sha256", artifact.sha256],
    ["owner", artifact.owner],
    ["job", artifact.job_id],
    ["intent", artifact.intent_id],
    ["labels", labels.join(" ") || null],
    ["created", artifact.created_at],
    ["path", artifact.path],
  ];
  const rows = fields.flatMap(([name, value]) => (value === null ? [] : [[`  ${name}`, visible(value)]]));
  for (const line of alignColumns(rows)) out.line(line);
}
