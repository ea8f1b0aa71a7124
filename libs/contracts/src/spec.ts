// The job spec: what a submitter says, and the same with every default filled in.
import { z } from "zod";
import { AgentName } from "./agents.ts";
import { ArtifactId, IntentId } from "./ids.ts";
import { limits } from "./limits.ts";
import { MediaType } from "./media-type.ts";
import { partsOfSecretId, SecretReference } from "./secrets.ts";
import { durationSchema, formatDuration, sizeSchema } from "./units.ts";

const encoder = new TextEncoder();
const bytesOf = (text: string) => encoder.encode(text).byteLength;
const noNul = (text: string) => !text.includes("\0");
const text = z.string().refine(noNul, "must not contain a NUL byte");

/** Absolute, under a folder that a job may write, without `.` or `..`. */
const workingDir = text
  .max(4096)
  .refine((path) => /^\/(workspace|outputs|tmp)(\/[^/]+)*$/.test(path), "must be under /workspace, /outputs or /tmp")
  .refine((path) => !path.split("/").some((part) => part === "." || part === ".."), "must not contain . or ..");

const isPlain = (path: string) =>
  path.split("/").every((part, i) => (i === 0) === (part === "") && part !== "." && part !== "..");

const Input = z
  .strictObject({
    artifact: ArtifactId.describe("The artifact; its submitter must be allowed to read it"),
    path: text
      .max(4096)
      .refine(
        (path) => /^\/(inputs\/|workspace(\/|$))/.test(path) && isPlain(path),
        "must be under /inputs or /workspace, without . or ..",
      )
      .describe("Where it is put: read-only under /inputs, as the job's own file under /workspace"),
    unpack: z.boolean().default(false).describe("It is a tar archive, unpacked into the folder `path` of /workspace"),
  })
  .refine(({ path, unpack }) => (unpack ? /^\/workspace(\/|$)/.test(path) : path !== "/workspace"), {
    path: ["path"],
    message: "must be a folder of /workspace with unpack, and a file without",
  });

const Output = z.strictObject({
  path: text
    .min(1)
    .max(4096)
    .refine(
      (path) => /^(?!\/)|^\/(workspace|outputs)\//.test(path) && !path.split("/").includes(".."),
      "must be under /workspace or /outputs, or relative to /workspace",
    )
    .describe("Which files, as a glob: `*` within a folder, `**` through folders"),
  type: MediaType.default("application/octet-stream").describe("Their media type"),
});

/** In a folder of their own, so that one mount holds them and nothing can lie in their way. */
const secretFile = text
  .max(4096)
  .refine((path) => /^\/secrets\/[^/]{1,255}$/.test(path) && isPlain(path), "must be a file right under /secrets");

const Secret = z.strictObject({
  secret: SecretReference.describe(
    "Its name, or OWNER/NAME where it is another's; its submitter must be allowed to use it",
  ),
  path: secretFile.optional().describe("The file, readable by the job alone; `/secrets/NAME` where absent"),
});

/** Where a secret of a spec lies inside. */
export function secretPathOf({ secret, path }: { secret: string; path?: string | undefined }): string {
  return path ?? `/secrets/${partsOfSecretId(secret).name}`;
}

const command = z
  .array(text)
  .min(1)
  .refine((words) => words[0] !== "", "must name a program")
  .refine(
    (words) => words.reduce((sum, word) => sum + bytesOf(word) + 1, 0) <= limits.commandBytes,
    `must be at most ${limits.commandBytes} bytes`,
  );

const env = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, "must be a name of letters, digits and _"), text)
  .refine(
    (pairs) =>
      Object.entries(pairs).reduce((sum, [k, v]) => sum + bytesOf(k) + bytesOf(v) + 2, 0) <= limits.environmentBytes,
    `must be at most ${limits.environmentBytes} bytes`,
  );

export const Labels = z
  .record(
    z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/, "must be letters, digits, . _ / -"),
    z.string().max(limits.labelBytes).refine(noNul, "must not contain a NUL byte"),
  )
  .refine((labels) => Object.keys(labels).length <= limits.labelPairs, `must be at most ${limits.labelPairs} pairs`);

const rate = sizeSchema(4096, limits.memoryMaxBytes);

const Backoff = z.strictObject({
  initial: durationSchema(1, limits.queueTimeoutMaxMs).default("1s").describe("Before the second attempt"),
  factor: z.number().min(1).max(100).default(2).describe("Longer by this each time"),
  max: durationSchema(1, limits.queueTimeoutMaxMs).default("5m").describe("Never longer than this"),
  jitter: z.number().min(0).max(1).default(0.2).describe("Share of it that is random"),
});

export const RetryCause = z.enum(["exit", "signal", "oom", "timeout", "lost"]);
export type RetryCause = z.infer<typeof RetryCause>;

export const JobSpec = z.strictObject({
  command: command.describe("Program and arguments, no shell in between"),
  env: env.default({}).describe("Environment of the command"),
  working_dir: workingDir.default("/workspace").describe("Folder the command starts in, created when missing"),
  stdin: z
    .string()
    .refine((input) => bytesOf(input) <= limits.stdinBytes, `must be at most ${limits.stdinBytes} bytes`)
    .nullable()
    .default(null)
    .describe("Standard input, as text"),
  inputs: z
    .array(Input)
    .max(limits.jobInputs)
    .refine(
      (inputs) => new Set(inputs.map(({ path }) => path)).size === inputs.length,
      "must have a path of its own each",
    )
    .default([])
    .describe("Artifacts that the command finds as files; they count as part of `disk`"),
  outputs: z
    .array(Output)
    .max(limits.jobOutputRules)
    .nullable()
    .default(null)
    .describe("Files that become artifacts when it ends; absent: all in /outputs"),
  secrets: z
    .array(Secret)
    .max(limits.jobSecrets)
    .refine((all) => new Set(all.map(secretPathOf)).size === all.length, "must have a path of its own each")
    .default([])
    .describe("Secrets that the command finds as files in memory, 0400"),
  resources: z
    .strictObject({
      cpus: z.number().min(limits.cpusMin).max(limits.cpusMax).optional().describe("Cores; fractions allowed"),
      memory: sizeSchema(limits.memoryMinBytes, limits.memoryMaxBytes).optional().describe("Memory, swap excluded"),
      pids: z.int().min(1).max(limits.pidsMax).default(limits.pidsDefault).describe("Processes and threads"),
      disk: sizeSchema(limits.diskMinBytes, limits.diskMaxBytes)
        .default("1GiB")
        .describe("/workspace and /outputs together"),
      io: z
        .strictObject({
          read_bps: rate.nullable().default(null).describe("Bytes read per second"),
          write_bps: rate.nullable().default(null).describe("Bytes written per second"),
        })
        .prefault({}),
    })
    .prefault({}),
  network: z.strictObject({ mode: z.literal("none").default("none").describe("No network at all") }).prefault({}),
  sandbox: z
    .strictObject({
      driver: z.enum(["auto", "bubblewrap"]).default("auto").describe("Who confines it; `auto`: what the worker has"),
    })
    .prefault({}),
  attach: z
    .strictObject({ agent: AgentName })
    .nullable()
    .default(null)
    .describe("The agent whose socket it finds at /run/aether/aetherd.sock, and whose folder as /workspace"),
  timeout: durationSchema(1, limits.timeoutMaxMs)
    .default(formatDuration(limits.timeoutDefaultMs))
    .describe("Longest run time of one attempt"),
  queue_timeout: durationSchema(1, limits.queueTimeoutMaxMs)
    .default(formatDuration(limits.queueTimeoutDefaultMs))
    .describe("Longest wait in the queue"),
  grace: durationSchema(0, limits.graceMaxMs)
    .default(formatDuration(limits.graceDefaultMs))
    .describe("Between SIGTERM and SIGKILL"),
  retry: z
    .strictObject({
      max_attempts: z.int().min(1).max(limits.attemptsMax).default(3).describe("The first one included"),
      backoff: Backoff.prefault({}),
      on: z
        .array(RetryCause)
        .min(1)
        .default(["exit", "signal", "oom", "timeout", "lost"])
        .describe("What is tried again"),
    })
    .nullable()
    .default(null)
    .describe("Absent: one attempt"),
  priority: z.int().min(limits.priorityMin).max(limits.priorityMax).default(0).describe("Higher first, then oldest"),
  pool: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "must be lower-case letters, digits and -")
    .default("default")
    .describe("Workers of this pool run it"),
  labels: Labels.default({}).describe("The submitter's own, to list by"),
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, "must be letters, digits, _ . -")
    .nullable()
    .default(null)
    .describe("For people; need not be unique"),
  intent_id: IntentId.nullable().default(null).describe("The intent it belongs to"),
});
/** A spec with every default filled in. */
export type JobSpec = z.infer<typeof JobSpec>;
/** A spec as a submitter may write it. */
export type JobSpecInput = z.input<typeof JobSpec>;
