// The configuration of the gateway, read from the environment, and what it asks the host about users and groups.
import { readFileSync } from "node:fs";
import { z } from "zod";

export const GatewayConfig = z.object({
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_GATEWAY_SEED_FILE: z.string().describe("File with the nkey seed of user `gateway`"),
  AETHER_GATEWAY_SOCKET: z.string().describe("Path of the unix socket"),
  AETHER_GATEWAY_GROUP: z.string().optional().describe("Group that gets the socket and whose users are members"),
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

/** Operators: root, and whoever runs the gateway where that is not root. */
export function operatorUids(): number[] {
  const own = process.getuid?.() ?? 0;
  return own === 0 ? [0] : [0, own];
}

/** The number of a group by its name; throws when there is no such group. */
export function requireGid(name: string): number {
  const entry = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((line) => line.startsWith(`${name}:`));
  const gid = Number(entry?.split(":")[2]);
  if (!entry || !Number.isInteger(gid)) throw new Error(`there is no group ${name}`);
  return gid;
}
