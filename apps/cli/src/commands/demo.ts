// Everything that Aether promises, once, on this machine, in a home of its own: each step says what it does, shows what came
// of it and checks it. Exit code 0 means that every step held.
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { type Client, createClient, createUnixTransport } from "@aether/client";
import { type AuditRecord, isTerminal, type Job, type Layout, limits, ProblemError } from "@aether/contracts";
import { printAudit } from "../audit-table.ts";
import { defineCommand, type Options } from "../command.ts";
import { type Daemon, describeProcesses, endDaemon, startDaemon, waitUntilHealthy } from "../daemon.ts";
import { type AgentFindings, showAgent } from "../demo-agent.ts";
import { makeDemoHome } from "../demo-home.ts";
import { createDemoJob } from "../demo-job.ts";
import { showArtifacts, showMemory } from "../demo-kept.ts";
import { type Findings, heading, held, type Stage, typedCommand } from "../demo-stage.ts";
import { exitCodes, Failure } from "../failure.ts";
import { formatBytes, formatMs } from "../format.ts";
import { printHealth } from "../health-table.ts";
import { interrupted } from "../interrupt.ts";
import { retryWhileAway } from "../patience.ts";
import { findLayout } from "../place.ts";
import { createProgress, type Progress } from "../progress.ts";
import { findTools, sinceCommandMs } from "../set-up.ts";
import { type Output, printJson, type Terminal } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

const healthyWithinMs = 60_000;
const endWithinMs = 60_000;
const auditWithinMs = 15_000;
const denyingPolicy = "limit-timeout";
const tooLong = "8d";
const interruptedCode = 130;

const options = {
  keep: { type: "flag", about: "Leave it running, to look around in; where a step fails, only the folder" },
} as const satisfies Options;

export const demo = defineCommand({
  usage: "demo [--keep]",
  about: "Start everything in a home of its own, run a job, show what happened, end everything",
  options,
  operands: { min: 0, max: 0, name: "" },
  notes: ["Exits 0 only when every step held."],
  async run({ values, json, terminal, env }) {
    using ctrlC = interrupted();
    using progress = createProgress(terminal.err);
    const found: Findings = {};
    const stage: Stage = { out: json ? silent(terminal) : terminal.out, progress, found };
    const home = makeDemoHome(env);
    const layout = findLayout({ ...env, AETHER_HOME: home });
    await using stack = new AsyncDisposableStack();
    const tools = findTools(env);
    using daemon = startDaemon(layout, env);
    let ending: Promise<void> | undefined;
    const end = () => {
      ending ??= endDaemon(daemon.pid, endWithinMs).then(() =>
        values.keep ? undefined : rm(home, { recursive: true, force: true }),
      );
      return ending;
    };
    let stays = false;
    stack.defer(() => (stays ? undefined : end()));

    const show = async () => {
      await showSetUp(stage, await tools, home, values.keep);
      await showStart(stage, layout, daemon);
      using transport = createUnixTransport(layout.socket);
      const client = createClient(transport);
      const job = await showJob(stage, client);
      await showArtifacts(stage, client);
      await showMemory(stage, client, home);
      await showDenial(stage, client);
      const agents = await showAgent(stage, client);
      await showAudit(stage, client, job, agents);
    };
    if ((await Promise.race([show(), ctrlC.pressed])) === "interrupted") return interruptedCode;
    stays = values.keep;
    await showEnd(stage, { layout, keep: values.keep, end });
    if (json) printJson(terminal.out, found);
    return exitCodes.done;
  },
});

async function showSetUp(
  { out, found }: Stage,
  tools: Awaited<ReturnType<typeof findTools>>,
  home: string,
  keep: boolean,
) {
  heading(out, "Set-up");
  const missing = tools.filter((tool) => tool.version === null);
  const rows = tools.map(({ name, version, program }) => [name, version ?? "missing", program]);
  for (const line of alignColumns([...rows, ["home", keep ? "kept" : "for now", home]])) held(out, line);
  found.tools = tools;
  found.home = home;
  const [first] = missing;
  if (first) throw new Failure(`${first.name} is missing (${first.program})`, { next: "./aether setup" });
}

async function showStart({ out, progress, found }: Stage, layout: Layout, daemon: Daemon): Promise<void> {
  heading(out, "Start");
  progress.say("starting the bus, the services and a worker");
  const health = await waitUntilHealthy(layout, daemon, healthyWithinMs);
  progress.clear();
  held(out, `everything is up, ${formatMs(sinceCommand())} after the command`);
  held(out, describeProcesses(layout));
  printHealth(out, health, "    ");
  found.health = health;
}

async function showJob({ out, progress, found }: Stage, client: Client): Promise<Job> {
  const { spec, typed, expected, check } = createDemoJob();
  heading(out, "A job");
  typedCommand(out, typed);
  const accepted = await client.jobs.submit(spec);
  const acceptedMs = sinceCommand();
  held(out, `first job accepted after ${(acceptedMs / 1000).toFixed(2)} s  ${out.paint("dim", accepted.id)}`);
  progress.say(`${accepted.id} runs`);
  const lines = await showLog(out, progress, client, accepted);
  const job = await client.jobs.get(accepted.id);
  progress.clear();
  if (job.state !== "succeeded" || !isTerminal(job.state)) {
    throw new Failure(`the job ended ${job.state}${job.reason ? ` (${job.reason})` : ""}\n${job.message ?? ""}`, {
      next: "`aether doctor` says what is missing",
    });
  }
  const usage = job.usage;
  held(
    out,
    `exit code ${job.exit_code}, ran ${formatMs(job.runtime_ms ?? 0)}, CPU ${formatMs(usage?.cpu_ms ?? 0)}, ` +
      `peak memory ${formatBytes(usage?.memory_peak_bytes ?? 0)}, ${usage?.pids_peak ?? 0} processes, ${job.driver} on ${job.worker}`,
  );
  const absent = expected.filter((line) => !lines.includes(line));
  if (absent.length > 0) throw new Failure(`the job's output lacks: ${absent.join("; ")}`);
  held(out, `the same was counted here; check it yourself: ${out.paint("bold", check)}`);
  Object.assign(found, { first_job_accepted_ms: Math.round(acceptedMs), job, log: lines });
  return job;
}

async function showLog(out: Output, progress: Progress, client: Client, job: Job): Promise<string[]> {
  const lines: string[] = [];
  const startedAt = performance.now();
  for await (const frame of client.jobs.logs(job.id, { follow: true })) {
    if (!("stream" in frame)) continue;
    progress.clear();
    lines.push(frame.data);
    const at = `+${Math.round(performance.now() - startedAt)} ms`.padStart(8);
    out.line(`    ${out.paint("dim", `${at} ${frame.stream} │`)} ${visible(frame.data)}`);
  }
  return lines;
}

async function showDenial({ out, found }: Stage, client: Client): Promise<void> {
  heading(out, "A denial");
  typedCommand(out, `aether run --timeout ${tooLong} -- true`);
  const denied = await client.jobs.submit({ command: ["true"], timeout: tooLong }).then(
    () => null,
    (error: unknown) => error,
  );
  const decision =
    denied instanceof ProblemError && denied.slug === "policy-denied" ? denied.problem.decision : undefined;
  if (!decision?.policies.includes(denyingPolicy)) {
    throw new Failure(`${denyingPolicy} should have denied a timeout of ${tooLong}`, { cause: denied });
  }
  held(out, `denied by ${decision.policies.join(", ")}: ${visible(decision.reason)}`);
  found.denial = denied instanceof ProblemError ? denied.problem : null;
}

async function showAudit(
  { out, progress, found }: Stage,
  client: Client,
  job: Job,
  agents: AgentFindings,
): Promise<void> {
  heading(out, "The audit log");
  progress.say("waiting for the record of the job's end");
  const records = await readAudit(client, job, agents);
  progress.clear();
  printAudit(out, records, { indent: "    ", short: true });
  const verdict = await client.audit.verify();
  if (verdict.state !== "intact") {
    throw new Failure([`the audit log is ${verdict.state}`, ...verdict.faults.map(({ fault }) => fault)].join("\n"));
  }
  held(out, `the chain is intact: ${verdict.records} records, each with the hash of the one before it`);
  Object.assign(found, { audit: records, verdict });
}

/** All records, once the job's start and end and the denial are among them: outcomes follow what happened by a moment. */
async function readAudit(client: Client, job: Job, agents: AgentFindings): Promise<AuditRecord[]> {
  const giveUpAt = performance.now() + auditWithinMs;
  const wanted: Record<string, (record: AuditRecord) => boolean> = {
    "the submission": ({ action, job_id }) => action === "submit_job" && job_id === job.id,
    "the start": ({ action, job_id }) => action === "start_job" && job_id === job.id,
    "the end": ({ outcome, job_id }) => outcome?.to === job.state && job_id === job.id,
    "the denial": ({ decision }) => decision?.outcome === "deny" && decision.policies.includes(denyingPolicy),
    ...agents,
  };
  for (;;) {
    // A view that is still catching up says so.
    const { items } = await retryWhileAway(() => client.audit.list({ limit: limits.pageMax }), auditWithinMs);
    const missing = Object.entries(wanted).flatMap(([name, is]) => (items.some(is) ? [] : [name]));
    if (missing.length === 0) return items;
    if (performance.now() > giveUpAt) throw new Failure(`the audit log lacks ${missing.join(", ")}`);
    await setTimeout(50);
  }
}

async function showEnd(
  { out, progress }: Stage,
  { layout, keep, end }: { layout: Layout; keep: boolean; end: () => Promise<void> },
): Promise<void> {
  heading(out, "The end");
  if (keep) {
    held(out, `left running; talk to it with ${out.paint("bold", `export AETHER_HOME=${layout.home}`)}`);
    out.line("    aether ps -a · aether audit ls · aether down");
    return;
  }
  progress.say("ending");
  await end();
  progress.clear();
  held(out, "every service, the worker and the bus have ended; the home is removed");
  out.line(`\n${out.paint("green", "Every step held.")}`);
}

function sinceCommand(): number {
  try {
    const ageMs = sinceCommandMs(readFileSync("/proc/self/stat", "utf8"), readFileSync("/proc/uptime", "utf8"));
    if (ageMs !== null) return ageMs;
  } catch {
    // Without /proc the launcher's part is not known; Node's own part is.
  }
  return performance.now();
}

function silent({ out }: Terminal): Output {
  return { ...out, columns: Number.POSITIVE_INFINITY, write() {}, line() {}, drained: async () => {} };
}
