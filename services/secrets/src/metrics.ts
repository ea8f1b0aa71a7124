// The numbers of the secrets service beside its operations: how often a value was given to a job.
import type { Registry } from "@aether/telemetry";

export function createSecretsMetrics(registry: Registry) {
  const taken = registry.counter("aether.secrets.taken", "{secret}", "Values given to attempts of jobs");
  return { taken: () => taken.add(1) };
}
