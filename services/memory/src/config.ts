// The configuration of the memory service, read from the environment.
import { z } from "zod";

export const MemoryConfig = z.object({
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_MEMORY_SEED_FILE: z.string().describe("File with the nkey seed of user `memory`"),
  AETHER_MEMORY_VIEWS_DIR: z.string().describe("Folder of the SQLite views, one for each owner; disposable"),
  AETHER_MEMORY_OPENER_SOCKET: z
    .string()
    .optional()
    .describe("Socket of the opener, which reads files as who asks; without it only the own user's"),
  AETHER_MEMORY_PDFTOTEXT: z.string().default("pdftotext").describe("Program that tells the text of a PDF, in a job"),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe("OTLP/HTTP collector that gets traces, such as `http://127.0.0.1:4318`; none where absent"),
  AETHER_LOG_FILE: z.string().optional().describe("Log file; standard error where absent"),
});
export type MemoryConfig = z.infer<typeof MemoryConfig>;
