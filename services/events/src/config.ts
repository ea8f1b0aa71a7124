// The configuration of the events service, read from the environment.
import { z } from "zod";

export const EventsConfig = z.object({
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_EVENTS_SEED_FILE: z.string().describe("File with the nkey seed of user `events`"),
  AETHER_EVENTS_VIEW_FILE: z.string().describe("SQLite file that is read from; disposable"),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe("OTLP/HTTP collector that gets traces, such as `http://127.0.0.1:4318`; none where absent"),
  AETHER_LOG_FILE: z.string().optional().describe("Log file; standard error where absent"),
});
export type EventsConfig = z.infer<typeof EventsConfig>;
