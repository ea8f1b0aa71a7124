// What the gateway answers by itself: the health of every service and the version of the system.
import { z } from "zod";
import { type Access, defineOperation } from "./define.ts";

export const ServiceHealth = z.object({
  name: z.string(),
  up: z.boolean(),
  version: z.string().nullable(),
  latency_ms: z.number().nullable(),
  degraded: z.array(z.string()).describe("What is degraded and why"),
});

/** Every service answers it under `<service>.health`. */
export function healthOperation(service: string) {
  return defineOperation({
    name: `${service}.health`,
    kind: "unary",
    summary: `Health of ${service}`,
    request: z.strictObject({}),
    reply: z.object({ version: z.string(), degraded: z.array(z.string()) }),
    problems: [],
    access: { exempt: "health", reason: "says nothing about anybody's resources" },
    callers: ["gateway"],
    retry: "safe",
    timeoutMs: 1000,
  });
}

const attributes = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));
const described = { name: z.string(), unit: z.string(), description: z.string() };

/** One metric of a service, as OpenTelemetry has it: cumulative, a histogram's buckets each for itself. */
export const Metric = z.union([
  z.object({
    ...described,
    type: z.enum(["counter", "gauge"]),
    points: z.array(z.object({ attributes, value: z.number() })),
  }),
  z.object({
    ...described,
    type: z.literal("histogram"),
    explicit_bounds: z.array(z.number()),
    points: z.array(z.object({ attributes, count: z.int(), sum: z.number(), bucket_counts: z.array(z.int()) })),
  }),
]);
export type Metric = z.infer<typeof Metric>;

export const ServiceMetrics = z.object({
  resource: z.object({ "service.name": z.string(), "service.version": z.string(), "service.instance.id": z.string() }),
  start_time: z.iso.datetime().describe("Since when its counters count"),
  metrics: z.array(Metric),
});
export type ServiceMetrics = z.infer<typeof ServiceMetrics>;

/**
 * Every service answers it under `<service>.metrics`. Whether the numbers of all may be read is decided once, in the question
 * to policy, which the gateway asks first: so the numbers can be had by whom the host's owner let in while policy is away.
 */
export function metricsOperation(service: string) {
  const access: Access =
    service === "policy"
      ? { action: "read_metrics", resource: "Metrics", owner: "caller", record: "summary" }
      : { exempt: "metrics", reason: "read by the gateway once policy has allowed `read_metrics`; counts, no ids" };
  return defineOperation({
    name: `${service}.metrics`,
    kind: "unary",
    summary: `Metrics of ${service}`,
    request: z.strictObject({}),
    reply: ServiceMetrics,
    problems: [],
    access,
    callers: ["gateway"],
    retry: "safe",
    timeoutMs: 2000,
  });
}

export const Metrics = z.object({
  schema: z.literal("aether.metrics/v0"),
  time: z.iso.datetime(),
  temporality: z.literal("cumulative"),
  services: z.array(ServiceMetrics),
  missing: z.array(z.string()).describe("Services that did not answer"),
});
export type Metrics = z.infer<typeof Metrics>;

export const Health = z.object({ status: z.enum(["up", "degraded", "down"]), services: z.array(ServiceHealth) });
export type Health = z.infer<typeof Health>;

export const Version = z.object({ version: z.string(), api: z.literal("v0"), node: z.string() });
export type Version = z.infer<typeof Version>;

export const WhoAmI = z.object({
  type: z.enum(["User", "Agent"]),
  id: z.string(),
  name: z.string().describe("How owners and actors are written: `user:1000`, `agent:scout`"),
  roles: z.array(z.string()).describe("None: no rights at all"),
  owner: z.string().nullable().describe("Of an agent: for whom it works"),
  uid: z.int(),
  gid: z.int(),
  pid: z.int(),
  groups: z.array(z.int()).describe("Supplementary groups"),
  known_by: z
    .enum(["credentials", "socket"])
    .describe("The kernel's word about the other end, or the agent's own socket"),
  same_uid: z.boolean().describe("An agent that has the uid of its owner: nothing but its sandbox keeps the two apart"),
  note: z.string().nullable().describe("What of this limits the caller, in a sentence"),
});
export type WhoAmI = z.infer<typeof WhoAmI>;

/** Routes the gateway serves itself, listed for OpenAPI and the client. */
export const systemRoutes = [
  { method: "GET", path: "/health", summary: "Health of every service", reply: Health },
  {
    method: "GET",
    path: "/metrics",
    summary: "Numbers of every service, as JSON, Prometheus text or OpenMetrics",
    reply: Metrics,
  },
  { method: "GET", path: "/whoami", summary: "Who the caller is to Aether, and with which roles", reply: WhoAmI },
  { method: "GET", path: "/version", summary: "Version of the system", reply: Version },
  {
    method: "GET",
    path: "/openapi.json",
    summary: "This API as OpenAPI 3.1",
    reply: z.record(z.string(), z.unknown()),
  },
] as const;
