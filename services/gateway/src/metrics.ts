// Gathers the numbers of every service into one document, the gateway's own among them.
//
// Policy is asked first: its answer is its own numbers and the leave to read everybody's. What does not answer is named as
// missing. The port for scrapers has no caller whom policy could know; there the leave is the operator's who configured it, and
// numbers can be had while policy is away.
import { type Bus, request } from "@aether/bus";
import {
  createId,
  type Metrics,
  metricsOperation,
  type Principal,
  ProblemError,
  type ServiceMetrics,
  services,
} from "@aether/contracts";
import type { Registry } from "@aether/telemetry";
import type { CallEnvelope } from "./call.ts";
import { version } from "./version.ts";

const others = Object.keys(services).filter((name) => name !== "policy");
const instanceId = createId("req").slice(4);
const scraper: Principal = { type: "Service", id: "metrics-scraper", roles: ["operator"] };

/** The numbers of everything, for a caller; throws ProblemError where policy does not allow it or does not answer. */
export async function readMetrics(bus: Bus, own: Registry, envelope: CallEnvelope): Promise<Metrics> {
  const policy = (await request(bus, metricsOperation("policy"), {}, { envelope })).reply;
  return gather(bus, own, envelope, policy);
}

/** The numbers of everything that answers, for the port that the operator has opened. */
export async function scrapeMetrics(bus: Bus, own: Registry): Promise<Metrics> {
  const envelope = { principal: scraper, request_id: createId("req") };
  const policy = await request(bus, metricsOperation("policy"), {}, { envelope }).catch((error: unknown) => {
    if (error instanceof ProblemError && error.slug === "policy-denied") throw error;
    return null;
  });
  return gather(bus, own, envelope, policy?.reply ?? null);
}

async function gather(
  bus: Bus,
  own: Registry,
  envelope: CallEnvelope,
  policy: ServiceMetrics | null,
): Promise<Metrics> {
  const [self, ...found] = await Promise.all([
    ownMetrics(own),
    ...others.map((name) =>
      request(bus, metricsOperation(name), {}, { envelope }).then(
        ({ reply }) => ({ name, metrics: reply }),
        () => ({ name, metrics: null }), // that it does not answer is the answer
      ),
    ),
  ]);
  const all = [...found, { name: "policy", metrics: policy }];
  return {
    schema: "aether.metrics/v0",
    time: new Date().toISOString(),
    temporality: "cumulative",
    services: [self, ...all.flatMap(({ metrics }) => metrics ?? [])],
    missing: all.flatMap(({ name, metrics }) => (metrics ? [] : [name])),
  };
}

async function ownMetrics(registry: Registry): Promise<ServiceMetrics> {
  const resource = { "service.name": "aether-gateway", "service.version": version, "service.instance.id": instanceId };
  return { resource, start_time: registry.startTime, metrics: await registry.collect() };
}
