// The numbers of the events service: what was derived and emitted, and how far each source is told.
import { type Bus, streamState } from "@aether/bus";
import type { Registry } from "@aether/telemetry";
import type { Deriver } from "./deriver.ts";
import type { Emit } from "./emit.ts";
import type { EventsView } from "./events-view.ts";
import type { Source } from "./source.ts";

export interface EventsMetrics {
  derived(source: Source): void;
  /** The same, counted. */
  emit(emit: Emit): Emit;
  watch(source: Source, deriver: Pick<Deriver, "position">): void;
}

export function createEventsMetrics(registry: Registry, bus: Bus, view: Pick<EventsView, "newest">): EventsMetrics {
  const derived = registry.counter(
    "aether.events.derived",
    "{event}",
    "Events derived from changes of state, by source",
  );
  const emitted = registry.counter("aether.events.emitted", "{event}", "Events that users emitted, repeats included");
  registry.gauge("aether.events.sequence", "{event}", "Sequence of the newest event", () => view.newest);
  const waiting: [Source, Pick<Deriver, "position">][] = [];
  registry.gauge("aether.events.waiting", "{write}", "Writes of a source that are not told yet", () =>
    Promise.all(
      waiting.map(async ([source, { position }]) => {
        const { lastSequence } = await streamState(bus, source.stream);
        return { attributes: { "aether.source": source.name }, value: Math.max(0, lastSequence - position) };
      }),
    ),
  );
  return {
    derived: ({ name }) => derived.add(1, { "aether.source": name }),
    emit: (emit) => async (event) => {
      const stored = await emit(event);
      emitted.add(1);
      return stored;
    },
    watch: (source, deriver) => void waiting.push([source, deriver]),
  };
}
