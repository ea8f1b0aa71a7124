// The configuration of the policy service, read from the environment.
import { RolesConfig } from "@aether/service";
import { z } from "zod";

const MIB = 1024 * 1024;

export const PolicyConfig = z.object({
  AETHER_OPERATORS: RolesConfig.shape.AETHER_OPERATORS.describe(
    "Operators, who answer for everybody; root where absent",
  ),
  AETHER_NATS_URL: z.string().describe("URL of nats-server"),
  AETHER_POLICY_SEED_FILE: z.string().describe("File with the nkey seed of user `policy`"),
  AETHER_POLICY_AUDIT_SEED_FILE: z.string().describe("File with the nkey seed of user `policy-audit`"),
  AETHER_POLICY_DATA_DIR: z
    .string()
    .describe("Folder of the signing key, checkpoints, sealed segments and the list view"),
  AETHER_POLICY_CHECKPOINT_DIR: z.string().describe("Second place of the checkpoints, best on another disk or host"),
  AETHER_POLICY_OWN_POLICIES_DIR: z
    .string()
    .optional()
    .describe("Folder of the owner's `*.cedar` files, beside the shipped"),
  AETHER_POLICY_SEAL_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .default(16 * MIB)
    .describe("Unsealed bytes that are sealed into a segment; half of the stream where that is less"),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe("OTLP/HTTP collector that gets traces, such as `http://127.0.0.1:4318`; none where absent"),
  AETHER_LOG_FILE: z.string().optional().describe("Log file; standard error where absent"),
});
export type PolicyConfig = z.infer<typeof PolicyConfig>;
