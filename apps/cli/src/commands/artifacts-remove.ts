import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const artifactsRemove = defineCommand({
  usage: "artifacts rm ARTIFACT…",
  about: "Delete artifacts; bytes go with the last artifact that has them",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ARTIFACT" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const id of operands) {
      const artifact = await client.artifacts.delete(id);
      if (json) printJsonLine(out, artifact);
      else out.line(id);
    }
    return exitCodes.done;
  },
});
