import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printJsonLine } from "../terminal.ts";

export const secretsRemove = defineCommand({
  usage: "secrets rm NAME…",
  about: "Delete secrets; jobs that wait for them will fail",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "NAME" },
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const name of operands) {
      const secret = await client.secrets.delete(name);
      if (json) printJsonLine(out, secret);
      else out.line(secret.name);
    }
    return exitCodes.done;
  },
});
