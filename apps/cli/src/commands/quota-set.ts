import { QuotaChange } from "@aether/contracts";
import { defineCommand } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { toPairs } from "../job-spec.ts";
import { toQuotaPrincipal } from "../quota-principal.ts";
import { printQuota, quotaRows } from "../quota-table.ts";
import { printJson } from "../terminal.ts";

/** What the contract calls them, where that is another name. */
const fields: Readonly<Record<string, string>> = { running: "running_jobs", requests: "requests_per_second" };

export const quotaSet = defineCommand({
  usage: "quota set PRINCIPAL QUOTA=VALUE…",
  about: "Set what a principal, or every one of a kind, may use at once",
  options: {},
  operands: { min: 2, max: Number.POSITIVE_INFINITY, name: "PRINCIPAL or QUOTA=VALUE" },
  notes: [
    `Quotas: ${Object.keys(quotaRows).join(", ")}. The value \`default\` takes one back.`,
    "A principal is a user by name or number, `agent:NAME`, or a kind: `user:*`, `agent:*`.",
  ],
  examples: ["aether quota set ada jobs=10 memory=16GiB", "aether quota set 'agent:*' running=4 requests=20"],
  async run({ operands: [word = "", ...pairs], json, terminal: { out }, connect }) {
    const principal = toQuotaPrincipal(word);
    const change = QuotaChange.safeParse(toChange(pairs));
    if (!change.success) {
      const [fault] = change.error.issues;
      throw new UsageError(`${fault?.path.join(".")}: ${fault?.message}`);
    }
    const quota = await (await connect()).quotas.set(principal, change.data);
    if (json) printJson(out, quota);
    else printQuota(out, quota);
    return exitCodes.done;
  },
});

function toChange(pairs: readonly string[]): Record<string, string | number | null> {
  return Object.fromEntries(
    Object.entries(toPairs("QUOTA", pairs)).map(([name, text]) => {
      if (!Object.hasOwn(quotaRows, name))
        throw new UsageError(`'${name}' is no quota: ${Object.keys(quotaRows).join(", ")}`);
      return [fields[name] ?? name, toValue(text)];
    }),
  );
}

function toValue(text: string): string | number | null {
  if (text === "default") return null;
  return /^\d{1,15}(\.\d{1,6})?$/.test(text) ? Number(text) : text;
}
