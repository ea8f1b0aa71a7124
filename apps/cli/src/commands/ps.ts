import { isTerminal, type Job, JobState, jobStates, limits } from "@aether/contracts";
import { defineCommand, type Options, type Values } from "../command.ts";
import { stateOf } from "../exit-code.ts";
import { exitCodes, UsageError } from "../failure.ts";
import { formatAgo, formatMs } from "../format.ts";
import { toPairs } from "../job-spec.ts";
import { readPages, toLimit } from "../read-pages.ts";
import { type Output, printJson } from "../terminal.ts";
import { alignColumns, quoteCommand, shorten, visible } from "../text.ts";

const commandColumns = 40;
const filters = ["state", "label", "pool", "intent"] as const;

const options = {
  all: { type: "flag", short: "a", about: "Also jobs that have ended" },
  filter: { type: "list", short: "f", value: "KEY=VALUE", about: `${filters.join(", ")}` },
  state: { type: "list", value: "STATE", about: `Only jobs in this state: ${jobStates.join(", ")}` },
  label: { type: "list", short: "l", value: "K=V", about: "Only jobs with this label" },
  pool: { type: "text", value: "NAME", about: "Only jobs of this pool" },
  intent: { type: "text", value: "ID", about: "Only jobs of this intent" },
  limit: { type: "text", short: "n", value: "N", about: `How many at most (${limits.pageDefault})` },
  quiet: { type: "flag", short: "q", about: "Only ids" },
} as const satisfies Options;

export const ps = defineCommand({
  usage: "ps [OPTION…]",
  about: "List jobs, newest first; without -a only those that have not ended",
  options,
  operands: { min: 0, max: 0, name: "" },
  examples: ["aether ps -a --label team=docs", "aether kill $(aether ps -q)"],
  async run({ values, json, terminal, connect }) {
    const query = toQuery(values);
    const limit = toLimit(values.limit);
    const client = await connect();
    const { items, next_cursor } = await readPages(limit, (place) => client.jobs.list({ ...query, ...place }));
    if (json) printJson(terminal.out, { items, next_cursor });
    else if (values.quiet) for (const job of items) terminal.out.line(job.id);
    else {
      printTable(terminal.out, items);
      if (next_cursor && terminal.err.isTerminal) {
        terminal.err.line(terminal.err.paint("dim", `the newest ${items.length}; --limit N shows more`));
      }
    }
    return exitCodes.done;
  },
});

type Given = Values<typeof options>;
interface Query {
  state?: JobState[];
  label?: string[];
  pool?: string;
  intent_id?: string;
}

function toQuery(values: Given): Query {
  const given = new Map<string, string[]>(filters.map((name) => [name, []]));
  for (const filter of values.filter) {
    const [key = "", value] = Object.entries(toPairs("--filter", [filter]))[0] ?? [];
    const list = given.get(key === "status" ? "state" : key);
    if (!list || value === undefined) throw new UsageError(`--filter knows ${filters.join(", ")}, not '${key}'`);
    list.push(value);
  }
  given.get("state")?.push(...values.state);
  given.get("label")?.push(...values.label);
  for (const name of ["pool", "intent"] as const) {
    if (typeof values[name] === "string") given.get(name)?.push(values[name]);
  }
  const [pool] = given.get("pool") ?? [];
  const [intent] = given.get("intent") ?? [];
  const state = toStates(given.get("state") ?? [], values.all === true);
  const label = given.get("label") ?? [];
  return {
    ...(state.length > 0 && { state }),
    ...(label.length > 0 && { label }),
    ...(pool !== undefined && { pool }),
    ...(intent !== undefined && { intent_id: intent }),
  };
}

function toStates(names: string[], all: boolean): JobState[] {
  if (names.length === 0) return all ? [] : jobStates.filter((state) => !isTerminal(state));
  return names.map((name) => {
    const state = JobState.safeParse(name);
    if (!state.success) throw new UsageError(`'${name}' is no state: ${jobStates.join(", ")}`);
    return state.data;
  });
}

function printTable(out: Output, jobs: Job[]): void {
  const now = Date.now();
  const rows = jobs.map((job) => [
    job.id,
    visible(job.name ?? "-"),
    stateOf(job),
    shorten(visible(quoteCommand(job.spec.command)), commandColumns),
    formatAgo(job.created_at, now),
    runtimeOf(job, now),
  ]);
  const [head = "", ...lines] = alignColumns([["JOB", "NAME", "STATE", "COMMAND", "CREATED", "RUNTIME"], ...rows]);
  out.line(out.paint("bold", head));
  for (const line of lines) out.line(line);
}

function runtimeOf({ runtime_ms, started_at, ended_at }: Job, nowMs: number): string {
  if (runtime_ms !== null) return formatMs(runtime_ms);
  return started_at === null || ended_at !== null ? "-" : formatMs(Math.max(0, nowMs - Date.parse(started_at)));
}
