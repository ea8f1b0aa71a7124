// The configuration of aetherd, read from the environment. Where things are is the layout's matter, not this one's.
import { hostname } from "node:os";
import { parseSizeBytes } from "@aether/contracts";
import { RolesConfig } from "@aether/service";
import { z } from "zod";

export const AetherdConfig = z.object({
  AETHER_NATS_SERVER: z.string().default("nats-server").describe("Program of nats-server; looked for on PATH"),
  AETHER_STORE_SIZE: z
    .string()
    .transform((text, context) => {
      const bytes = parseSizeBytes(text);
      if (bytes === null) context.addIssue("a size like `20GiB` is wanted");
      return bytes ?? z.NEVER;
    })
    .optional()
    .describe("What the stores of the bus may take; chosen at the first start where absent"),
  AETHER_WORKER_HOST: z
    .string()
    .default(() => toHostName(hostname()))
    .describe("Name of this host's worker"),
  AETHER_WORKER_POOLS: z.string().optional().describe("Passed to the worker"),
  AETHER_WORKER_CPUS: z.string().optional().describe("Passed to the worker"),
  AETHER_WORKER_MEMORY_BYTES: z.string().optional().describe("Passed to the worker"),
  AETHER_WORKER_SLOTS: z.string().optional().describe("Passed to the worker"),
  AETHER_WORKER_WARM_DISKS: z.string().optional().describe("Passed to the worker"),
  AETHER_METRICS_LISTEN: z.string().optional().describe("Passed to the gateway"),
  ...RolesConfig.shape,
  OTEL_EXPORTER_OTLP_ENDPOINT: z.string().optional().describe("Passed to every process that can trace"),
  NODE_COMPILE_CACHE: z.string().optional().describe("Passed to every process"),
  PATH: z.string().default("/usr/sbin:/usr/bin:/sbin:/bin").describe("Where nats-server is looked for"),
});
export type AetherdConfig = z.infer<typeof AetherdConfig>;

/** A host's name as a token of a subject. */
export function toHostName(name: string): string {
  const token = (name.split(".")[0] ?? "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 63);
  return token === "" ? "local" : token;
}
