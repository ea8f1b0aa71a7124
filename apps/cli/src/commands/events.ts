import { EventQuery, limits } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { eventLine } from "../event-line.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { patienceMs } from "../patience.ts";
import { toLimit } from "../read-pages.ts";
import { printJsonLines } from "../terminal.ts";
import { toSince } from "./logs.ts";

const options = {
  follow: { type: "flag", short: "f", about: "Go on with what comes" },
  type: { type: "list", value: "TYPE", about: "Only these; `job` for dev.aether.job., `job.ended` for its .v1" },
  since: { type: "text", value: "TIME", about: "Only what came within this (10m), or after this time" },
  after: { type: "text", value: "SEQUENCE", about: "Only what came after the one with this sequence" },
  limit: { type: "text", short: "n", value: "N", about: `The last N (${limits.pageDefault}, or none before a follow)` },
  intent: { type: "text", value: "ID", about: "Only those of this intent" },
  job: { type: "text", value: "ID", about: "Only those about this job" },
  source: { type: "text", value: "SOURCE", about: "Only from here and below: /system, /user/1000" },
} as const satisfies Options;

export const events = defineCommand({
  usage: "events [OPTION…]",
  about: "Read or follow what happens: to jobs, and what users say",
  options,
  operands: { min: 0, max: 0, name: "" },
  notes: ["With --json: one CloudEvent a line."],
  examples: ["aether events -f --type job", "aether events --intent int_01k… --json", "aether events --since 10m"],
  async run({ values, json, terminal: { out }, connect }) {
    const filters = toFilters(values);
    const client = await connect();
    for await (const batch of client.events.read({ ...filters, follow: values.follow, resumeForMs: patienceMs })) {
      if (json) await printJsonLines(out, batch);
      else {
        out.write(batch.map((event) => `${eventLine(out, event)}\n`).join(""));
        await out.drained();
      }
    }
    return exitCodes.done;
  },
});

interface Given {
  follow: boolean;
  type: readonly string[];
  since: string | undefined;
  after: string | undefined;
  limit: string | undefined;
  intent: string | undefined;
  job: string | undefined;
  source: string | undefined;
}

function toFilters({ follow, type, since, after, limit, ...about }: Given) {
  // What is not said to begin somewhere shows the end.
  const fromStart = since !== undefined || after !== undefined;
  const count = limit === undefined && follow ? 0 : toLimit(limit);
  const parsed = EventQuery.omit({ follow: true, format: true }).safeParse({
    ...(type.length > 0 && { type: type.map(toType) }),
    ...(since !== undefined && { since: toSince(since, limits.eventsRetentionMs) }),
    ...(after !== undefined && { after: Number(after) }),
    ...(fromStart ? limit !== undefined && { limit: count } : { tail: count }),
    ...{ intent_id: about.intent, job_id: about.job, source: about.source },
  });
  if (parsed.success) return withoutUndefined(parsed.data);
  const [fault] = parsed.error.issues;
  throw new UsageError(`--${String(fault?.path[0]).replace("_id", "")}: ${fault?.message}`);
}

/** `job` is all of jobs and `job.ended` one of them; what names a domain is taken as it is. */
function toType(text: string): string {
  if (/^[a-z]+$/.test(text)) return `dev.aether.${text}.`;
  return /^[a-z]+\.[a-z]+$/.test(text) ? `dev.aether.${text}.v1` : text;
}

function withoutUndefined<T extends object>(values: T) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
