// `GET /v0/health`: every service is asked at the same time and has a second to answer.
import { type Bus, request } from "@aether/bus";
import { type Health, healthOperation, services } from "@aether/contracts";
import type { CallEnvelope } from "./call.ts";

type ServiceHealth = Health["services"][number];

const probes = Object.keys(services).map((name) => ({ name, operation: healthOperation(name) }));

/**
 * The health of everything. Nothing can be decided without policy, so without it the system is down, as it is when nobody
 * answers at all; with any other service missing or degraded it is degraded.
 */
export async function readHealth(bus: Bus, version: string, envelope: CallEnvelope): Promise<Health> {
  const found = await Promise.all(probes.map(({ name, operation }) => probe(bus, name, operation, envelope)));
  const self: ServiceHealth = {
    name: "gateway",
    up: true,
    version,
    latency_ms: 0,
    degraded: bus.connected ? [] : ["the bus is away"],
  };
  const everything = [self, ...found];
  const isUp = (name: string) => found.some((service) => service.name === name && service.up);
  if (!isUp("policy")) return { status: "down", services: everything };
  const sound = everything.every((service) => service.up && service.degraded.length === 0);
  return { status: sound ? "up" : "degraded", services: everything };
}

async function probe(
  bus: Bus,
  name: string,
  operation: ReturnType<typeof healthOperation>,
  envelope: CallEnvelope,
): Promise<ServiceHealth> {
  const startedAt = performance.now();
  try {
    const { reply } = await request(bus, operation, {}, { envelope });
    const latencyMs = Math.round((performance.now() - startedAt) * 100) / 100;
    return { name, up: true, version: reply.version, latency_ms: latencyMs, degraded: reply.degraded };
  } catch {
    // Why it does not answer is not known here; that it does not is the answer.
    return { name, up: false, version: null, latency_ms: null, degraded: ["does not answer"] };
  }
}
