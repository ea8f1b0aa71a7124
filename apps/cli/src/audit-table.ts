// Audit records as a table, oldest first, as one reads a story.
import type { AuditRecord } from "@aether/contracts";
import type { Output } from "./terminal.ts";
import { alignColumns, shorten, visible } from "./text.ts";

const detailColumns = 60;

export interface AuditTableOptions {
  indent?: string;
  /** Without the date, and ids by their last letters: for a table of one moment and few things. */
  short?: boolean;
}

/** Prints records that came newest first. */
export function printAudit(
  out: Output,
  newestFirst: readonly AuditRecord[],
  { indent = "", short = false }: AuditTableOptions = {},
): void {
  const rows = newestFirst.toReversed().map((record) => toRow(record, short));
  const [head = "", ...lines] = alignColumns([["SEQ", "TIME", "ACTOR", "ACTION", "ABOUT", "DECISION"], ...rows]);
  out.line(indent + out.paint("bold", head));
  for (const [i, line] of lines.entries()) {
    const denied = newestFirst.at(-1 - i)?.decision?.outcome === "deny";
    out.line(indent + (denied ? out.paint("red", line) : line));
  }
}

function toRow(record: AuditRecord, short: boolean): string[] {
  const { seq, ts, actor, action, kind, count } = record;
  const about = record.job_id ?? (record.resource ? `${record.resource.type} ${record.resource.id}` : "-");
  const shown = (text: string) => visible(short ? text.replace(/(?<=_)[0-9a-z]+(?=[0-9a-z]{4}$)/, "…") : text);
  const times = count > 1 ? ` ×${count}` : "";
  return [
    String(seq),
    `${short ? "" : `${ts.wall.slice(0, 10)} `}${ts.wall.slice(11, 23)}`,
    visible(`${actor.type.toLowerCase()}:${actor.id}`),
    `${kind === "outcome" ? "outcome" : visible(action)}${times}`,
    shown(about),
    shorten(shown(detailOf(record)), detailColumns),
  ];
}

function detailOf({ decision, outcome, note }: AuditRecord): string {
  if (decision) {
    const yes = decision.approval ?? decision.grant;
    return `${decision.outcome} by ${decision.policies.join(", ") || "default"}${yes ? `, ${yes}` : ""}`;
  }
  if (!outcome) return note ?? "-";
  const reason = outcome.reason ? ` (${outcome.reason})` : "";
  return `${outcome.from ?? "new"} → ${outcome.to}${reason}`;
}
