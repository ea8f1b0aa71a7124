// The configuration of the jobs service, read from the environment.
import { limits } from "@aether/contracts";
import { z } from "zod";

export const JobsConfig = z.object({
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_JOBS_SEED_FILE: z.string().describe("File with the nkey seed of user `jobs`"),
  AETHER_JOBS_VIEW_FILE: z.string().describe("SQLite file of the list view; disposable"),
  AETHER_JOBS_STORE_DIR: z.string().optional().describe("Folder on the store's disk whose free space is watched"),
  AETHER_JOBS_FREE_FLOOR_BYTES: z.coerce
    .number()
    .int()
    .min(0)
    .default(512 * 1024 * 1024)
    .describe("Submits stop below this"),
  AETHER_JOBS_LOG_MAX_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .max(limits.logMaxBytes)
    .default(limits.logMaxBytes)
    .describe("What is kept of one job's log"),
  AETHER_JOBS_RECONCILE_MS: z.coerce.number().int().min(50).default(1000).describe("How often the reconciler looks"),
  AETHER_JOBS_WORKER_GONE_MS: z.coerce
    .number()
    .int()
    .min(1000)
    .default(limits.workerGoneMs)
    .describe("Silence after which a worker is gone; longer than the warden's deadline"),
  AETHER_JOBS_PLACE_WITHOUT_JOB_MS: z.coerce
    .number()
    .int()
    .min(0)
    .default(limits.placeWithoutJobMs)
    .describe("How long a place of a quota is kept for a job that is not there; longer than a submit takes"),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe("OTLP/HTTP collector that gets traces, such as `http://127.0.0.1:4318`; none where absent"),
  AETHER_LOG_FILE: z.string().optional().describe("Log file; standard error where absent"),
});
export type JobsConfig = z.infer<typeof JobsConfig>;
