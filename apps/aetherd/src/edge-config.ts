// What the process edges of this package read from the environment beside their services' own configuration.
import { RolesConfig } from "@aether/service";
import { z } from "zod";
import type { Account } from "./account.ts";

export const AccountConfig = z.object({
  AETHER_DAEMON_UID: z.coerce.number().int().positive().optional().describe("User to become; its own where absent"),
  AETHER_DAEMON_GID: z.coerce.number().int().positive().optional().describe("Group to become"),
});

export const GatewayEdgeConfig = AccountConfig.extend({
  ...RolesConfig.shape,
  AETHER_NATS_URL: z.string(),
  AETHER_GATEWAY_SEED_FILE: z.string(),
  AETHER_GATEWAY_SOCKET: z.string(),
  AETHER_GATEWAY_AGENTS_DIR: z.string(),
  AETHER_LOG_FILE: z.string(),
  AETHER_METRICS_LISTEN: z.string().optional(),
  OTEL_EXPORTER_OTLP_ENDPOINT: z.string().optional(),
});

/** The account to become, or null. */
export function toAccount(config: z.infer<typeof AccountConfig>): Account | null {
  const { AETHER_DAEMON_UID: uid, AETHER_DAEMON_GID: gid } = config;
  return uid === undefined || gid === undefined ? null : { uid, gid };
}
