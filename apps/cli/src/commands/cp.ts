import { stat } from "node:fs/promises";
import path from "node:path";
import { defineCommand } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";
import { download, sourceOf, upload } from "../transfer.ts";

export const cp = defineCommand({
  usage: "cp SOURCE DESTINATION",
  about: "Copy a file into an artifact, or an artifact into a file or folder",
  options: {},
  operands: { min: 2, max: 2, name: "PATH" },
  notes: [
    "`art_…:` is an artifact to copy from; `art:` or `art:NAME` makes a new one, whose id is printed. - is a standard stream.",
  ],
  examples: ["aether cp art_01k…: ./report.pdf", "aether cp ./report.pdf art:", "aether cp art_01k…: - | less"],
  async run({ operands: [source = "", destination = ""], json, terminal, stdin, connect }) {
    const from = /^(art_[0-9a-z]{26}):$/.exec(source)?.[1];
    const to = /^art:(.*)$/s.exec(destination)?.[1];
    if ((from === undefined) === (to === undefined))
      throw new UsageError("one side is an artifact: `art_…:` to copy from, `art:` or `art:NAME` to copy to");
    const client = await connect();
    if (from === undefined) {
      const artifact = await upload(client, terminal, sourceOf(source, stdin), { name: to || undefined });
      if (json) printJsonLine(terminal.out, artifact);
      else terminal.out.line(artifact.id);
      return exitCodes.done;
    }
    const artifact = await client.artifacts.get(from, { path: false });
    const file = (await isFolder(destination)) ? path.join(destination, path.basename(artifact.name)) : destination;
    await download(client, terminal, artifact, file);
    if (json && file !== "-") printJsonLine(terminal.out, { ...artifact, file });
    return exitCodes.done;
  },
});

async function isFolder(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null))?.isDirectory() ?? false;
}
