import { type AuditRecord, type CloudEvent, type Job, limits, ProblemError } from "@aether/contracts";
import { printAudit } from "../audit-table.ts";
import { defineCommand } from "../command.ts";
import { eventLine } from "../event-line.ts";
import { stateOf } from "../exit-code.ts";
import { exitCodes } from "../failure.ts";
import { formatBytes, formatMs } from "../format.ts";
import { type Output, printJsonLine } from "../terminal.ts";
import { alignColumns, quoteCommand, visible } from "../text.ts";

export const inspect = defineCommand({
  usage: "inspect JOB…",
  about:
    "Show everything about a job: its record, its limits and how they were enforced, what it used, its events and audit records",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "JOB" },
  notes: ["With --json: {job, events, audit} for each job, one a line; audit is null for those who may not read it."],
  async run({ operands, json, terminal: { out }, connect }) {
    const client = await connect();
    for (const [i, id] of operands.entries()) {
      const job = await client.jobs.get(id);
      const audit = await client.audit.list({ job_id: id, limit: limits.pageMax }).then(
        (page) => page.items,
        (error: unknown) => {
          // Who may not read the audit log may still look at his job.
          if (error instanceof ProblemError && error.slug === "policy-denied") return null;
          throw error;
        },
      );
      const events: CloudEvent[] = [];
      for await (const batch of client.events.read({ job_id: id, source: "/system" })) events.push(...batch);
      if (json) printJsonLine(out, { job, events, audit });
      else {
        if (i > 0) out.line();
        printJob(out, job, events, audit);
      }
    }
    return exitCodes.done;
  },
});

function printJob(out: Output, job: Job, events: readonly CloudEvent[], audit: AuditRecord[] | null): void {
  out.line(out.paint("bold", `${job.id}  ${stateOf(job)}`));
  printFields(out, describe(job));
  if (job.usage) {
    section(out, "Used");
    printFields(out, describeUsage(job.usage));
  }
  section(out, "Limits");
  printFields(out, describeLimits(job));
  if (job.attempts.length > 1) {
    section(out, "Attempts");
    printFields(
      out,
      job.attempts.map((one) => [
        String(one.attempt),
        [one.worker, one.reason ?? "", one.exit_code === null ? (one.signal ?? "") : `exit ${one.exit_code}`]
          .filter(Boolean)
          .join("  "),
      ]),
    );
  }
  if (job.artifacts.length > 0) {
    section(out, "Artifacts");
    printFields(
      out,
      job.artifacts.map(({ id, path, size_bytes }) => [id, `${path}  ${formatBytes(size_bytes)}`]),
    );
  }
  section(out, "Events");
  for (const event of events) out.line(`  ${eventLine(out, event, { short: true })}`);
  if (events.length === 0) out.line("  none are kept any more");
  section(out, "Audit");
  if (audit) printAudit(out, audit, { indent: "  " });
  else out.line("  you may not read the audit log");
}

function section(out: Output, title: string): void {
  out.line(`\n${out.paint("bold", title)}`);
}

type Field = readonly [string, string | null];

function describe(job: Job): Field[] {
  return [
    ["name", job.name],
    ["command", quoteCommand(job.spec.command)],
    ["owner", job.owner],
    ["intent", job.intent_id],
    [
      "labels",
      Object.entries(job.labels)
        .map(([k, v]) => `${k}=${v}`)
        .join(" ") || null,
    ],
    ["exit code", job.exit_code === null ? null : String(job.exit_code)],
    ["signal", job.signal],
    ["message", job.message],
    ["created", job.created_at],
    ["started", job.started_at],
    ["ended", job.ended_at],
    ["queued for", job.queued_ms === null ? null : formatMs(job.queued_ms)],
    ["ran for", job.runtime_ms === null ? null : formatMs(job.runtime_ms)],
    ["worker", job.worker && `${job.worker}${job.driver ? ` (${job.driver})` : ""}`],
    ["attempt", `${job.attempt} of ${job.max_attempts}`],
    ["pool", `${job.pool}, priority ${job.priority}`],
    ["log", `${job.logs.last_seq} lines, ${formatBytes(job.logs.bytes)}${job.logs.truncated ? ", truncated" : ""}`],
    ["approval", job.approval_id],
    ["policy", job.policy_version],
  ];
}

function describeUsage(usage: NonNullable<Job["usage"]>): Field[] {
  return [
    ["cpu", formatMs(usage.cpu_ms)],
    ["memory peak", formatBytes(usage.memory_peak_bytes)],
    ["processes", String(usage.pids_peak)],
    ["read, written", `${formatBytes(usage.io_read_bytes)}, ${formatBytes(usage.io_write_bytes)}`],
    ["oom kills", usage.oom_kills > 0 ? String(usage.oom_kills) : null],
  ];
}

function describeLimits({ spec, enforced }: Job): Field[] {
  const { memory, cpus, pids, disk, io } = spec.resources;
  const by = (what: keyof NonNullable<Job["enforced"]>) => (enforced ? `  (${enforced[what]})` : "");
  const size = (value: string | number) => (typeof value === "number" ? formatBytes(value) : value);
  const rates = [
    io.read_bps !== null && `read ${size(io.read_bps)}/s`,
    io.write_bps !== null && `write ${size(io.write_bps)}/s`,
  ];
  return [
    ["memory", memory === undefined ? null : size(memory) + by("memory")],
    ["cpus", cpus === undefined ? null : `${cpus}${by("cpus")}`],
    ["processes", `${pids}${by("pids")}`],
    ["disk", size(disk) + by("disk")],
    ["io", rates.some(Boolean) ? rates.filter(Boolean).join(", ") + by("io") : null],
    ["timeout", spec.timeout],
    ["grace", spec.grace],
  ];
}

function printFields(out: Output, fields: readonly Field[]): void {
  const rows = fields.flatMap(([name, value]) => (value === null ? [] : [[`  ${name}`, visible(value)]]));
  for (const line of alignColumns(rows)) out.line(line);
}
