import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { printHealth } from "../health-table.ts";
import { printJson } from "../terminal.ts";

export const health = defineCommand({
  usage: "health",
  about: "Health of every service: up or down, its version, how fast it answers, what is degraded and why",
  options: {},
  operands: { min: 0, max: 0, name: "" },
  notes: ["Exits 0 only when everything is up and nothing is degraded."],
  async run({ json, terminal: { out }, connect }) {
    const found = await (await connect()).health();
    if (json) printJson(out, found);
    else printHealth(out, found);
    return found.status === "up" ? exitCodes.done : exitCodes.no;
  },
});
