import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const memoryRemove = defineCommand({
  usage: "memory rm ENTRY…",
  about: "Forget entries: their words are erased for good, that they were there stays",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ENTRY" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const id of operands) {
      const gone = await client.memory.forget(id);
      if (json) printJsonLine(out, gone);
      else out.line(gone.id);
    }
    return exitCodes.done;
  },
});
