// Answers service discovery as the NATS service protocol says (ADR-32 of nats-architecture-and-design), so that
// `nats micro ls|info|stats` works against Aether's services.
import { createId } from "@aether/contracts";
import type { Msg, Subscription } from "@nats-io/transport-node";
import type { Bus } from "./connection.ts";

/** Counters of one endpoint; times in nanoseconds, as the protocol has them. */
export interface EndpointStats {
  name: string;
  subject: string;
  queue_group: string;
  num_requests: number;
  num_errors: number;
  last_error: string;
  processing_time: number;
  average_processing_time: number;
}

/** Subscribes PING, INFO and STATS for a service; the subscriptions end with the connection or when drained. */
export function answerDiscovery(
  bus: Bus,
  service: { name: string; version: string; description: string },
  endpoints: EndpointStats[],
): Subscription[] {
  const identity = { name: service.name, id: createId("req").slice(4), version: service.version, metadata: {} };
  const started = new Date().toISOString();
  const answers = {
    PING: () => ({ ...identity, type: "io.nats.micro.v1.ping_response" }),
    INFO: () => ({
      ...identity,
      type: "io.nats.micro.v1.info_response",
      description: service.description,
      endpoints: endpoints.map(({ name, subject, queue_group }) => ({ name, subject, queue_group, metadata: {} })),
    }),
    STATS: () => ({ ...identity, type: "io.nats.micro.v1.stats_response", started, endpoints }),
  };
  return Object.entries(answers).flatMap(([verb, answer]) =>
    ["", `.${identity.name}`, `.${identity.name}.${identity.id}`].map((suffix) =>
      bus.nats.subscribe(`$SRV.${verb}${suffix}`, {
        callback: (_error: Error | null, message: Msg) => void message.respond(JSON.stringify(answer())),
      }),
    ),
  );
}
