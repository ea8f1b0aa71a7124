// The configuration tables of the services' READMEs, made from the schema that each service reads its environment with.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import { ArtifactsConfig } from "../services/artifacts/src/config.ts";
import { EventsConfig } from "../services/events/src/config.ts";
import { GatewayConfig } from "../services/gateway/src/config.ts";
import { JobsConfig } from "../services/jobs/src/config.ts";
import { MemoryConfig } from "../services/memory/src/config.ts";
import { PolicyConfig } from "../services/policy/src/config.ts";
import { SecretsConfig } from "../services/secrets/src/config.ts";
import { WorkerConfig } from "../services/worker/src/config.ts";

const schemas: Record<string, z.ZodObject> = {
  artifacts: ArtifactsConfig,
  events: EventsConfig,
  gateway: GatewayConfig,
  jobs: JobsConfig,
  memory: MemoryConfig,
  policy: PolicyConfig,
  secrets: SecretsConfig,
  worker: WorkerConfig,
};

const heading = "## Configuration\n";
const head = "| variable | default | |\n|---|---|---|\n";

/** Every service's README by its path, with the table below `## Configuration` as the schema says. */
export function renderReadmes(root: string): Map<string, string> {
  return new Map(
    Object.entries(schemas).map(([service, schema]) => {
      const path = `services/${service}/README.md`;
      return [path, replaceTable(readFileSync(join(root, path), "utf8"), renderTable(schema))];
    }),
  );
}

function replaceTable(readme: string, table: string): string {
  const [before, after, ...more] = readme.split(heading);
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`a README has the line "${heading.trim()}" once`);
  }
  return `${before}${heading}${table}${after.replace(/^(\|.*\n)*/, "")}`;
}

function renderTable(schema: z.ZodObject): string {
  const rows = Object.entries(schema.shape).map(
    ([name, field]) => `| \`${name}\` | ${defaultOf(field)} | ${field.description ?? ""} |\n`,
  );
  return head + rows.join("");
}

/** What the schema makes of a variable that is not set. */
function defaultOf(field: z.ZodType): string {
  const absent = field.safeParse(undefined);
  if (!absent.success) return "**required**";
  return absent.data === undefined ? "" : `\`${String(absent.data)}\``;
}
