// Quotas as tables: what is used of what, in units that people read.
import type { Quota } from "@aether/contracts";
import { formatBytes } from "./format.ts";
import type { Output } from "./terminal.ts";
import { alignColumns, visible } from "./text.ts";

/** A quota as the command line calls it, where the contract has its value, and how that is written. */
interface Row {
  readonly limit: keyof Quota["limits"];
  readonly used?: keyof Quota["used"];
  readonly write: (value: number) => string;
}

const asNumber = (value: number) => String(value);

export const quotaRows: Readonly<Record<string, Row>> = {
  jobs: { limit: "jobs", used: "jobs", write: asNumber },
  running: { limit: "running_jobs", used: "running_jobs", write: asNumber },
  cpus: { limit: "cpus", used: "cpus", write: asNumber },
  memory: { limit: "memory_bytes", used: "memory_bytes", write: formatBytes },
  artifacts: { limit: "artifact_bytes", used: "artifact_bytes", write: formatBytes },
  requests: { limit: "requests_per_second", write: (value) => `${value}/s` },
};

/** One principal, a line for each of its quotas. */
export function printQuota(out: Output, quota: Quota): void {
  const rows = Object.entries(quotaRows).map(([name, row]) => [
    name,
    usedOf(quota, row),
    limitOf(quota, row),
    row.limit in quota.set ? "set" : "",
  ]);
  out.line(out.paint("bold", visible(quota.principal)));
  printRows(out, ["QUOTA", "USED", "LIMIT", ""], rows);
}

/** Many principals, a line for each of them. */
export function printQuotas(out: Output, quotas: readonly Quota[]): void {
  const rows = quotas.map((quota) => [
    visible(quota.principal),
    ...Object.values(quotaRows).map((row) =>
      row.used ? `${usedOf(quota, row)} of ${limitOf(quota, row)}` : limitOf(quota, row),
    ),
  ]);
  printRows(out, ["PRINCIPAL", ...Object.keys(quotaRows).map((name) => name.toUpperCase())], rows);
}

function usedOf({ used }: Quota, { used: name, write }: Row): string {
  const value = name && used[name];
  return value == null ? "-" : write(value);
}

function limitOf({ limits }: Quota, { limit, write }: Row): string {
  const value = limits[limit];
  return value === null ? "any" : write(value);
}

function printRows(out: Output, heads: readonly string[], rows: readonly (readonly string[])[]): void {
  const [head = "", ...lines] = alignColumns([heads, ...rows]);
  out.line(out.paint("bold", head));
  for (const line of lines) out.line(line);
}
