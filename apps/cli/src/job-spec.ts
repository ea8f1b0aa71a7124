// The options of `run` as the spec of a job. What they mean is the contracts' to say: here they are only put in place, and
// what the schema refuses is told in the words of the command line.
import { JobSpec, type JobSpecInput, limits } from "@aether/contracts";
import type { Options, Values } from "./command.ts";
import { UsageError } from "./failure.ts";

const resources = JobSpec.shape.resources.unwrap().shape;
const io = resources.io.unwrap().shape;
const about = (schema: { description?: string | undefined }) => schema.description ?? "";

export const specOptions = {
  memory: { type: "text", short: "m", value: "SIZE", about: `${about(resources.memory)}: 512m, 1g` },
  cpus: { type: "text", also: ["cpu"], value: "N", about: about(resources.cpus) },
  "pids-limit": {
    type: "text",
    value: "N",
    about: `${about(resources.pids)} (${limits.pidsDefault})`,
  },
  disk: { type: "text", value: "SIZE", about: `${about(resources.disk)} (1g)` },
  "read-bps": { type: "text", value: "SIZE", about: about(io.read_bps) },
  "write-bps": { type: "text", value: "SIZE", about: about(io.write_bps) },
  timeout: { type: "text", value: "TIME", about: `${about(JobSpec.shape.timeout)}: 90s, 10m (1h)` },
  "queue-timeout": { type: "text", value: "TIME", about: `${about(JobSpec.shape.queue_timeout)} (1d)` },
  "stop-timeout": {
    type: "text",
    also: ["grace"],
    value: "TIME",
    about: `${about(JobSpec.shape.grace)}; a bare number is seconds (10s)`,
  },
  env: { type: "list", short: "e", value: "K=V", about: `${about(JobSpec.shape.env)}; K alone takes it from here` },
  workdir: { type: "text", short: "w", value: "DIR", about: about(JobSpec.shape.working_dir) },
  retry: { type: "text", value: "N", about: "Run it up to N times until it succeeds" },
  priority: { type: "text", value: "N", about: about(JobSpec.shape.priority) },
  pool: { type: "text", value: "NAME", about: "Workers that may run it" },
  input: {
    type: "list",
    value: "FROM:PATH",
    about: "What the command finds at PATH: an artifact, or a file or folder of this machine",
  },
  output: { type: "list", value: "GLOB", about: "Files to keep when it ends; all in /outputs where none is named" },
  secret: {
    type: "list",
    value: "NAME[:FILE]",
    about: "A secret that the command finds as /secrets/NAME, or under another name there",
  },
  label: { type: "list", short: "l", value: "K=V", about: "Label to find it by" },
  name: { type: "text", value: "NAME", about: "Name to know it by" },
  intent: { type: "text", value: "ID", about: "Intent that it belongs to" },
} as const satisfies Options;

/** Where a fault of the spec lies on the command line. */
const optionOfField: readonly (readonly [string, string])[] = [
  ["resources.memory", "--memory"],
  ["resources.cpus", "--cpus"],
  ["resources.pids", "--pids-limit"],
  ["resources.disk", "--disk"],
  ["resources.io.read_bps", "--read-bps"],
  ["resources.io.write_bps", "--write-bps"],
  ["queue_timeout", "--queue-timeout"],
  ["timeout", "--timeout"],
  ["grace", "--stop-timeout"],
  ["inputs", "--input"],
  ["outputs", "--output"],
  ["secrets", "--secret"],
  ["env", "--env"],
  ["working_dir", "--workdir"],
  ["retry", "--retry"],
  ["priority", "--priority"],
  ["pool", "--pool"],
  ["labels", "--label"],
  ["name", "--name"],
  ["intent_id", "--intent"],
  ["stdin", "stdin"],
  ["command", "the command"],
];

export interface SpecInput {
  values: Values<typeof specOptions>;
  command: readonly string[];
  stdin: string | null;
  inputs?: JobSpecInput["inputs"];
  /** Where `--env K` takes its value. */
  env: Readonly<Record<string, string | undefined>>;
}

/** Makes the spec; throws UsageError for what the contracts would refuse. */
export function toJobSpec({ values, command, stdin, inputs, env }: SpecInput): JobSpecInput {
  const { retry } = values;
  const spec = withoutUndefined({
    command: [...command],
    stdin: stdin ?? undefined,
    env: toEnv(values.env, env),
    inputs,
    outputs: values.output.length > 0 ? values.output.map((path) => ({ path })) : undefined,
    secrets: values.secret.length > 0 ? values.secret.map(toSecret) : undefined,
    working_dir: values.workdir,
    resources: withoutUndefined({
      memory: values.memory,
      cpus: toNumber(values.cpus),
      pids: toNumber(values["pids-limit"]),
      disk: values.disk,
      io: withoutUndefined({ read_bps: values["read-bps"], write_bps: values["write-bps"] }),
    }),
    timeout: values.timeout,
    queue_timeout: values["queue-timeout"],
    grace: toGrace(values["stop-timeout"]),
    retry: retry === undefined ? undefined : { max_attempts: toNumber(retry) },
    priority: toNumber(values.priority),
    pool: values.pool,
    labels: toPairs("--label", values.label),
    name: values.name,
    intent_id: values.intent,
  });
  const parsed = JobSpec.safeParse(spec);
  if (!parsed.success) throw new UsageError(parsed.error.issues.map(toFault).join("\n"));
  return spec as JobSpecInput;
}

/** `NAME`, `OWNER/NAME`, each with `:FILE` behind it where it is to be called otherwise; an owner has a colon of its own. */
function toSecret(text: string): { secret: string; path?: string } {
  const owner = /^(user|agent|service):[^:/]+\//.exec(text)?.[0] ?? "";
  const at = text.indexOf(":", owner.length);
  if (at < 0) return { secret: text };
  const file = text.slice(at + 1);
  return { secret: text.slice(0, at), path: file.startsWith("/") ? file : `/secrets/${file}` };
}

/** A duration; a bare number is seconds, as Docker has it. */
export function toGrace(text: string | undefined): string | undefined {
  return text !== undefined && /^\d+$/.test(text) ? `${text}s` : text;
}

function toFault({ path, message }: { path: PropertyKey[]; message: string }): string {
  const field = path.map(String).join(".");
  const [place, option] = optionOfField.find(([name]) => field === name || field.startsWith(`${name}.`)) ?? ["", field];
  const rest = field.slice(place.length + 1).replace(/^\d+(\.|$)/, "");
  return `${option}${rest && !rest.startsWith("max_") ? ` ${rest}` : ""}: ${message}`;
}

function toEnv(list: readonly string[], env: SpecInput["env"]): Record<string, string> {
  const pairs: string[] = [];
  for (const one of list) {
    if (one.includes("=")) pairs.push(one);
    // As Docker does it: a name that is not set here is not set there.
    else if (env[one] !== undefined) pairs.push(`${one}=${env[one]}`);
  }
  return toPairs("--env", pairs);
}

/** `K=V` as a record; the last of a name wins. */
export function toPairs(option: string, list: readonly string[]): Record<string, string> {
  const pairs: Record<string, string> = Object.create(null);
  for (const one of list) {
    const at = one.indexOf("=");
    if (at < 1) throw new UsageError(`${option} '${one}' is not K=V`);
    pairs[one.slice(0, at)] = one.slice(at + 1);
  }
  return { ...pairs };
}

/** A number as it was written, for the schema to judge; what is none stays text, for the schema to refuse. */
function toNumber(text: string | undefined): number | string | undefined {
  return text !== undefined && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

function withoutUndefined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
