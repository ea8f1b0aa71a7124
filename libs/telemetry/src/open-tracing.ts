// Tracing where it is wanted: the exporter is loaded when a collector is configured, and not before.
import type { Tracing } from "./tracing.ts";

/** Opens the way to the collector at an OTLP/HTTP endpoint; null where none is configured. Disposing sends what is left. */
export async function openTracing(endpoint: string | undefined): Promise<Tracing | null> {
  if (endpoint === undefined || endpoint === "") return null;
  const { startExporter } = await import("./otlp.ts");
  return startExporter(endpoint);
}
