import path from "node:path";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";
import { download } from "../transfer.ts";

const options = {
  output: {
    type: "text",
    short: "o",
    value: "FILE",
    about: "Where to write it, - for standard output; its own name where absent",
  },
} as const satisfies Options;

export const artifactsGet = defineCommand({
  usage: "artifacts get [OPTION…] ARTIFACT",
  about: "Write an artifact's bytes to a file, which is there as a whole or not at all",
  options,
  operands: { min: 1, max: 1, name: "ARTIFACT" },
  examples: ["aether artifacts get art_01k… -o report.pdf", "aether artifacts get art_01k… -o - | sha256sum"],
  async run({ values, operands: [id = ""], json, terminal, connect }) {
    const client = await connect();
    const artifact = await client.artifacts.get(id, { path: false });
    const file = values.output ?? path.basename(artifact.name);
    await download(client, terminal, artifact, file);
    if (json && file !== "-") printJsonLine(terminal.out, { ...artifact, file });
    return exitCodes.done;
  },
});
