// The configuration of the artifacts service, read from the environment.
import { limits } from "@aether/contracts";
import { z } from "zod";

export const ArtifactsConfig = z.object({
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_ARTIFACTS_SEED_FILE: z.string().describe("File with the nkey seed of user `artifacts`"),
  AETHER_ARTIFACTS_VIEW_FILE: z.string().describe("SQLite file of the list view; disposable"),
  AETHER_ARTIFACTS_DIR: z.string().describe("Folder of the files that `path` names, one folder per user in it"),
  AETHER_ARTIFACTS_OPENER_SOCKET: z
    .string()
    .optional()
    .describe("Socket of the opener, which reads and writes files as their owners; without it only the own user's"),
  AETHER_ARTIFACTS_STORE_DIR: z.string().optional().describe("Folder on the store's disk whose free space is watched"),
  AETHER_ARTIFACTS_FREE_FLOOR_BYTES: z.coerce
    .number()
    .int()
    .min(0)
    .default(512 * 1024 * 1024)
    .describe("Nothing is stored below this"),
  AETHER_ARTIFACTS_IDLE_MS: z.coerce
    .number()
    .int()
    .min(100)
    .default(limits.transferIdleMs)
    .describe("A transfer that does nothing for so long is given up"),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe("OTLP/HTTP collector that gets traces, such as `http://127.0.0.1:4318`; none where absent"),
  AETHER_LOG_FILE: z.string().optional().describe("Log file; standard error where absent"),
});
export type ArtifactsConfig = z.infer<typeof ArtifactsConfig>;
