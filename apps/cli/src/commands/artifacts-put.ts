import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { toPairs } from "../job-spec.ts";
import { printJsonLine } from "../terminal.ts";
import { sourceOf, upload } from "../transfer.ts";

const options = {
  name: { type: "text", value: "NAME", about: "What to call it; the file's name where absent" },
  type: { type: "text", value: "TYPE", about: "Media type; by the name's ending where absent" },
  job: { type: "text", value: "ID", about: "Job that it belongs to" },
  label: { type: "list", short: "l", value: "K=V", about: "Label to find it by" },
} as const satisfies Options;

export const artifactsPut = defineCommand({
  usage: "artifacts put [OPTION…] FILE…",
  about: "Store files as artifacts and print their ids; - is standard input",
  options,
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "FILE" },
  examples: [
    "id=$(aether artifacts put report.pdf --label team=docs)",
    "tar c src | aether artifacts put - --name src.tar",
  ],
  async run({ values, operands, json, terminal, stdin, connect }) {
    const client = await connect();
    const described = {
      name: values.name,
      type: values.type,
      jobId: values.job,
      labels: toPairs("--label", values.label),
    };
    for (const file of operands) {
      const artifact = await upload(client, terminal, sourceOf(file, stdin), described);
      if (json) printJsonLine(terminal.out, artifact);
      else terminal.out.line(artifact.id);
    }
    return exitCodes.done;
  },
});
