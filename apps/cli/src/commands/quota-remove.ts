import { defineCommand } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { toQuotaPrincipal } from "../quota-principal.ts";
import { printQuota } from "../quota-table.ts";
import { printJson } from "../terminal.ts";

export const quotaRemove = defineCommand({
  usage: "quota rm PRINCIPAL",
  about: "Take back everything that was set for a principal",
  options: {},
  operands: { min: 1, max: 1, name: "PRINCIPAL" },
  async run({ operands: [word = ""], json, terminal: { out }, connect }) {
    const quota = await (await connect()).quotas.remove(toQuotaPrincipal(word));
    if (json) printJson(out, quota);
    else printQuota(out, quota);
    return exitCodes.done;
  },
});
