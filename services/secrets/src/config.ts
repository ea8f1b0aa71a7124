// The configuration of the secrets service, read from the environment.
import { z } from "zod";

export const SecretsConfig = z.object({
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_SECRETS_SEED_FILE: z.string().describe("File with the nkey seed of user `secrets`"),
  AETHER_SECRETS_KEY_FILE: z
    .string()
    .describe("File with the keys that values are kept under, the one in use first; made where it is missing"),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe("OTLP/HTTP collector that gets traces, such as `http://127.0.0.1:4318`; none where absent"),
  AETHER_LOG_FILE: z.string().optional().describe("Log file; standard error where absent"),
});
export type SecretsConfig = z.infer<typeof SecretsConfig>;
