import { LogStream, limits } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { createLogWriter } from "../log-writer.ts";
import { patienceMs } from "../patience.ts";
import { printJsonLines } from "../terminal.ts";

const formats = ["raw", "ndjson"];

const options = {
  follow: { type: "flag", short: "f", about: "Go on until the job has ended" },
  tail: { type: "text", short: "n", value: "N", about: "Only the last N lines" },
  since: { type: "text", value: "TIME", about: "Only lines younger than this (10m), or after this time" },
  after: { type: "text", value: "SEQ", about: "Only lines after the one with this number" },
  stream: { type: "text", value: "NAME", about: "Only stdout, or only stderr" },
  timestamps: { type: "flag", short: "t", about: "The time before each line" },
  format: { type: "text", value: "NAME", about: "raw: what the job wrote; ndjson: frames, as --json" },
} as const satisfies Options;

export const logs = defineCommand({
  usage: "logs [OPTION…] JOB",
  about: "Read or follow the log of a job: its stdout to stdout, its stderr to stderr, byte for byte",
  options,
  operands: { min: 1, max: 1, name: "JOB" },
  examples: ["aether logs -f --tail 20 job_01k…", "aether logs --stream stderr --since 10m job_01k…"],
  async run({ values, operands: [id = ""], json, terminal, connect }) {
    const request = toRequest(values);
    if (values.format !== undefined && !formats.includes(values.format)) {
      throw new UsageError(`--format is one of ${formats.join(", ")}`);
    }
    const asFrames = json || values.format === "ndjson";
    const client = await connect();
    const writer = createLogWriter(terminal, { timestamps: values.timestamps });
    const reading = { ...request, follow: values.follow, resumeForMs: patienceMs };
    for await (const frames of client.jobs.logBatches(id, reading)) {
      await (asFrames ? printJsonLines(terminal.out, frames) : writer.write(frames));
    }
    return exitCodes.done;
  },
});

interface Given {
  tail: string | undefined;
  since: string | undefined;
  after: string | undefined;
  stream: string | undefined;
}

function toRequest({ tail, since, after, stream }: Given) {
  if (tail !== undefined && after !== undefined) throw new UsageError("--tail and --after do not go together");
  const only = stream === undefined ? undefined : LogStream.safeParse(stream);
  if (only?.success === false) throw new UsageError("--stream is one of stdout, stderr");
  return {
    ...(tail !== undefined && tail !== "all" && { tail: toCount("--tail", tail) }),
    ...(after !== undefined && { after: toCount("--after", after) }),
    ...(since !== undefined && { since: toSince(since, limits.logsRetentionMs) }),
    ...(only && { stream: only.data }),
  };
}

function toCount(option: string, text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`${option} must be a number, not '${text}'`);
  return Number(text);
}

/** A duration goes as it is; a date that a person writes becomes the exact time that the API takes. */
export function toSince(text: string, atMostMs: number): string {
  if (/^[\d.]+[a-z]/.test(text)) return text;
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) {
    throw new UsageError(`--since must be a duration (10m, at most ${atMostMs / 86_400_000}d) or a time`);
  }
  return time.toISOString();
}
