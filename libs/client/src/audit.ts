// The audit log as it is hashed: an export goes on behind the last record it gave, whatever dies in between.
import { type AuditExportQuery, type AuditRecord, exportAudit, formatQuery } from "@aether/contracts";
import type { z } from "zod";
import { type FollowOptions, type Reading, readResumed } from "./resume.ts";
import type { Transport } from "./transport.ts";

export type ExportOptions = Omit<FollowOptions, "follow"> & z.input<typeof AuditExportQuery>;

/** Records in order, each once, those that came together given together, and nothing of them changed: JSON.stringify writes their lines. */
export function readAuditBatches(
  transport: Transport,
  options: ExportOptions,
): AsyncGenerator<AuditRecord[], void, void> {
  const { signal, resumeForMs, ...filters } = options;
  let { after } = filters;
  const reading: Reading<AuditRecord> = {
    endsByItself: true,
    path: () => `/v0${exportAudit.http?.path}${formatQuery({ ...filters, after })}`,
    take(values) {
      // Not parsed, which would leave out what a newer service records, and write what an older one did not.
      const frames = values as AuditRecord[];
      after = frames.at(-1)?.seq ?? after;
      return { frames, end: null };
    },
  };
  return readResumed(transport, reading, {
    follow: true,
    ...(signal && { signal }),
    ...(resumeForMs !== undefined && { resumeForMs }),
  });
}
