// What the gateway answers by itself: the health of every service and the version of the system.
import { z } from "zod";
import { defineOperation } from "./define.ts";

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

export const Health = z.object({ status: z.enum(["up", "degraded", "down"]), services: z.array(ServiceHealth) });
export type Health = z.infer<typeof Health>;

export const Version = z.object({ version: z.string(), api: z.literal("v0"), node: z.string() });
export type Version = z.infer<typeof Version>;

/** Routes the gateway serves itself, listed for OpenAPI and the client. */
export const systemRoutes = [
  { method: "GET", path: "/health", summary: "Health of every service", reply: Health },
  { method: "GET", path: "/version", summary: "Version of the system", reply: Version },
  {
    method: "GET",
    path: "/openapi.json",
    summary: "This API as OpenAPI 3.1",
    reply: z.record(z.string(), z.unknown()),
  },
] as const;
