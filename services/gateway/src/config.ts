// The configuration of the gateway, read from the environment.
import { RolesConfig } from "@aether/service";
import { z } from "zod";

export const GatewayConfig = RolesConfig.extend({
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_GATEWAY_SEED_FILE: z.string().describe("File with the nkey seed of user `gateway`"),
  AETHER_GATEWAY_SOCKET: z.string().describe("Path of the unix socket"),
  AETHER_GATEWAY_GROUP: z.string().optional().describe("Group that gets the socket and whose users are members"),
  AETHER_GATEWAY_AGENTS_DIR: z.string().optional().describe("Folder for the sockets of agents; none where absent"),
  AETHER_METRICS_LISTEN: z
    .string()
    .optional()
    .describe(
      "Loopback address such as `127.0.0.1:9464` where any user of this host may read metrics; none where absent",
    ),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe("OTLP/HTTP collector that gets traces, such as `http://127.0.0.1:4318`; none where absent"),
  AETHER_LOG_FILE: z.string().optional().describe("Log file; standard error where absent"),
});
