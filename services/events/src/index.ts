// The events service: what happened, derived from the streams of state, and what users say happened. Any number of instances
// may run: what one has stored the others find.
import { type Bus, connectBus, serve } from "@aether/bus";
import { createRegistry, type Logger } from "@aether/telemetry";
import type { EventsConfig } from "./config.ts";
import { type Deriver, startDeriver } from "./deriver.ts";
import { createEmit } from "./emit.ts";
import { openEventsView } from "./events-view.ts";
import { eventHandlers } from "./handlers.ts";
import { createEventsMetrics } from "./metrics.ts";
import { sources } from "./sources.ts";
import { stream } from "./stored-event.ts";

export { EventsConfig } from "./config.ts";

const version = "0.1.0";

/** Starts an instance; resolves when it serves. Disposing it answers what is asked already, then leaves. */
export async function startEvents(
  config: EventsConfig,
  log: Logger,
  overrides: { bus?: Bus } = {},
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const {
    AETHER_NATS_URL: server,
    AETHER_EVENTS_SEED_FILE: seedFile,
    OTEL_EXPORTER_OTLP_ENDPOINT: otlpEndpoint,
  } = config;
  const bus = overrides.bus ?? stack.use(await connectBus({ server, user: "events", seedFile, otlpEndpoint, log }));
  const view = stack.use(await openEventsView(bus, config.AETHER_EVENTS_VIEW_FILE));
  const metrics = createRegistry();
  const measures = createEventsMetrics(metrics, bus, view);
  const derivers: Deriver[] = [];
  for (const source of sources) {
    const deriver = stack.use(await startDeriver(bus, source, () => measures.derived(source)));
    measures.watch(source, deriver);
    derivers.push(deriver);
  }
  const { max_bytes: maxBytes } = (await bus.jsm.streams.info(stream)).config;
  stack.use(
    await serve(bus, {
      service: "events",
      version,
      description: "Events, derived from state and emitted by users",
      metrics,
      handlers: eventHandlers({ bus, version, view, derivers, emit: measures.emit(createEmit(bus, view, maxBytes)) }),
    }),
  );
  const running = stack.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}
