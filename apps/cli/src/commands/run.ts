// Runs a job as if its command ran here: the log as it is written, the exit code at the end, Ctrl-C to stop it. The job is
// the server's from the moment it is accepted: whatever happens to this process or to the gateway, it goes on.
import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import type { Client } from "@aether/client";
import { type Job, type JobSpecInput, limits, ProblemError } from "@aether/contracts";
import { defineCommand, type Options, type Values } from "../command.ts";
import { createEnding } from "../ending.ts";
import { describeEnd, exitCodeOfJob } from "../exit-code.ts";
import { type Exits, exitCodes } from "../failure.ts";
import { followToEnd } from "../follow.ts";
import type { Invocation } from "../invocation.ts";
import { parseInput, storeInputs } from "../job-inputs.ts";
import { specOptions, toJobSpec } from "../job-spec.ts";
import { createLogWriter } from "../log-writer.ts";
import { isAway, isBroken, retryWhileAway } from "../patience.ts";
import { createProgress, type Progress } from "../progress.ts";
import { readStdin } from "../read-stdin.ts";
import { type Output, printJson, printJsonLine, printJsonLines, type Terminal } from "../terminal.ts";
import { visible } from "../text.ts";

const submitAgainForMs = 15_000;

export const runOptions = {
  interactive: {
    type: "flag",
    short: "i",
    about: `Send standard input to the job, at most ${limits.stdinBytes / 1024} KiB of text`,
  },
  detach: { type: "flag", short: "d", about: "Print the job's id and leave it running" },
  ...specOptions,
} as const satisfies Options;

export const runExits: Exits = [
  ["0…", "the job's own exit code"],
  ["128+n", "the job was ended by signal n"],
  ["124", "the job ran longer than its timeout"],
  ["125", "Aether refused it or could not run it"],
  ["2", "the command line is not valid"],
  ["130", "left behind by Ctrl-C"],
  ["141", "nobody reads the output any more; the job was stopped"],
];

export const run = defineCommand({
  usage: "run [OPTION…] [--] COMMAND [ARGUMENT…]",
  about: "Run a command in a sandbox and follow it: its output is the output, its exit code the exit code",
  options: runOptions,
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "COMMAND" },
  endsAtOperand: true,
  outlivesPipe: true,
  notes: [
    "Ctrl-C stops the job, a second one kills it, a third one leaves it behind.\n" +
      "With --json: a line for the job as accepted, its log as frames, a line for the job as it ended.",
  ],
  examples: [
    "aether run -- sh -c 'echo $((6*7))'",
    "aether run -i --memory 512m --cpus 1 --timeout 10m -- awk '{n += NF} END {print n}' <README.md",
    "aether run --input ./src:/workspace --output 'dist/*' -- make",
    "id=$(aether run -d --name nightly --label team=docs -- make check)",
  ],
  exits: runExits,
  run: (invocation) => runJob(invocation, invocation.operands),
});

/** Submits a command with what the options say and what is added to it, and follows it to its end. */
export async function runJob(
  { values, json, terminal, stdin, env, connect }: Invocation<Values<typeof runOptions>>,
  command: readonly string[],
  added: Pick<JobSpecInput, "attach"> = {},
): Promise<number> {
  using progress = createProgress(terminal.err);
  if (values.interactive && stdin.isTTY) progress.say("reading standard input; Ctrl-D ends it");
  const input = values.interactive ? await readStdin(stdin, limits.stdinBytes) : null;
  progress.clear();
  const named = values.input.map(parseInput);
  const told = { values, command, stdin: input, env };
  toJobSpec(told); // what is wrong with the rest is told before anything is sent
  const client = await connect();
  const spec = { ...toJobSpec({ ...told, inputs: await storeInputs(client, terminal, named) }), ...added };
  using ending = createEnding(client, terminal, progress);
  progress.say("submitting");
  const job = await submit(client, spec);
  progress.clear();
  if (!json) sayWhatItWaitsFor(terminal.err, job);
  if (values.detach) {
    if (json) printJson(terminal.out, job);
    else terminal.out.line(job.id);
    return exitCodes.done;
  }
  if (json) printJsonLine(terminal.out, { type: "job", job });
  const followed = follow({ client, job, terminal, progress, json, signal: ending.left });
  ending.begin(job.id);
  return await Promise.race([followed, ending.exitCode]);
}

/** Submits it, again where the answer was lost: the key makes that the same job. */
async function submit(client: Client, spec: JobSpecInput): Promise<Job> {
  const idempotencyKey = `cli-${randomUUID()}`;
  const send = () => client.jobs.submit(spec, { idempotencyKey });
  try {
    return await send();
  } catch (error) {
    if (!isBroken(error) && !(error instanceof ProblemError && error.slug === "outcome-unknown")) throw error;
  }
  return retryWhileAway(send, submitAgainForMs);
}

/** A job that waits for a person waits for ever, as far as this one can see, unless he is told whom to ask. */
function sayWhatItWaitsFor(err: Output, { id, state, message, approval_id }: Job): void {
  if (state !== "awaiting_approval") return;
  err.line(`aether: ${id} waits for a person: ${visible(message ?? "policy asks")}`);
  err.line(`  ${err.paint("dim", "→")} an operator, or whom you work for: aether approvals answer ${approval_id}`);
}

interface Following {
  client: Client;
  job: Job;
  terminal: Terminal;
  progress: Progress;
  json: boolean;
  signal: AbortSignal;
}

async function follow({ client, job, terminal, progress, json, signal }: Following): Promise<number> {
  const writer = createLogWriter(terminal, { beforeWrite: progress.clear });
  progress.say(`${job.id}${job.name ? ` (${visible(job.name)})` : ""}: ${job.state}`);
  const watching = new AbortController();
  if (!json) void showState({ client, job, terminal, progress, signal: AbortSignal.any([signal, watching.signal]) });
  try {
    for await (const frames of followToEnd(client, job.id, signal)) {
      watching.abort();
      await (json ? printJsonLines(terminal.out, frames) : writer.write(frames));
    }
  } finally {
    watching.abort();
  }
  const ended = await retryWhileAway(() => client.jobs.get(job.id));
  progress.clear();
  if (json) printJsonLine(terminal.out, { type: "job", job: ended });
  const words = describeEnd(ended);
  if (words && !json) terminal.err.line(`aether: ${job.id} ${visible(words)}`);
  return exitCodeOfJob(ended);
}

/** Shows what the job waits for, until its first output; also a person whom it must wait for once more. */
async function showState({ client, job, terminal, progress, signal }: Omit<Following, "json">): Promise<void> {
  let told = job.approval_id;
  try {
    for (let { state } = job; state !== "running"; ) {
      await setTimeout(1000, undefined, { signal });
      const now = await client.jobs.get(job.id, { signal });
      ({ state } = now);
      if (state === "awaiting_approval" && now.approval_id !== told) {
        told = now.approval_id;
        progress.clear();
        sayWhatItWaitsFor(terminal.err, now);
      }
      progress.say(`${job.id}: ${state.replaceAll("_", " ")}`);
    }
  } catch (error) {
    // It only decorates: the follow beside it sees what is wrong and says so.
    if (!signal.aborted && !isAway(error)) progress.clear();
  }
}
