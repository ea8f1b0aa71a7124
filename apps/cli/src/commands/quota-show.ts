import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { toQuotaPrincipal } from "../quota-principal.ts";
import { printQuota } from "../quota-table.ts";
import { printJson } from "../terminal.ts";

export const quotaShow = defineCommand({
  usage: "quota show [PRINCIPAL]",
  about: "Show what you, or another principal, may use at once and use",
  options: {},
  operands: { min: 0, max: 1, name: "PRINCIPAL" },
  examples: ["aether quota show", "aether quota show agent:aurora"],
  async run({ operands: [word], json, terminal: { out }, connect }) {
    const principal = word === undefined ? undefined : toQuotaPrincipal(word);
    const quota = await (await connect()).quotas.get(principal);
    if (json) printJson(out, quota);
    else printQuota(out, quota);
    return exitCodes.done;
  },
});
