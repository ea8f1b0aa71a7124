// The configuration of a worker, read from the environment.
import { z } from "zod";

const list = (fallback: string) =>
  z
    .string()
    .default(fallback)
    .transform((text) => text.split(",").filter((part) => part !== ""));

export const WorkerConfig = z.object({
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_WORKER_HOST: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
    .describe("Name of this host; its NATS user is `worker-<host>`"),
  AETHER_WORKER_SEED_FILE: z.string().describe("File with the nkey seed of this host's user"),
  AETHER_WORKER_INSTANCE: z
    .string()
    .regex(/^[a-z0-9]{1,32}$/)
    .describe("Tells this installation's sandboxes from others' on the host"),
  AETHER_WORKER_STATE_DIR: z.string().describe("Folder for the disks of jobs"),
  AETHER_WORKER_RUN_DIR: z.string().describe("Folder shared with the warden"),
  AETHER_WORKER_AGENTS_DIR: z
    .string()
    .optional()
    .describe("Where this host's gateway has the sockets of agents; no job runs as an agent where absent"),
  AETHER_WORKER_POOLS: list("default").describe("Pools to take jobs from, separated by commas"),
  AETHER_WORKER_CPUS: z.coerce.number().positive().optional().describe("Cores to give; all where absent"),
  AETHER_WORKER_MEMORY_BYTES: z.coerce
    .number()
    .int()
    .positive()
    .optional()
    .describe("Memory to give; four fifths of the host's where absent"),
  AETHER_WORKER_SLOTS: z.coerce.number().int().min(1).max(1024).default(64).describe("Jobs at once"),
  AETHER_WORKER_WARM_DISKS: z.coerce
    .number()
    .int()
    .min(0)
    .max(256)
    .optional()
    .describe("Formatted disks of the default size kept ready"),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe("OTLP/HTTP collector that gets traces, such as `http://127.0.0.1:4318`; none where absent"),
  AETHER_LOG_FILE: z.string().optional().describe("Log file; standard error where absent"),
});
export type WorkerConfig = z.infer<typeof WorkerConfig>;
