// The operations of the events service.
import { type Bus, handler, lastMessage, type ServeOptions } from "@aether/bus";
import {
  type EventReadRequest,
  emitEvent,
  healthOperation,
  ProblemError,
  principalName,
  readEvents,
} from "@aether/contracts";
import type { Deriver } from "./deriver.ts";
import type { Emit } from "./emit.ts";
import type { EventFilter, EventsView, FoundPage } from "./events-view.ts";
import { everything, stream } from "./stored-event.ts";

const toldMs = 1_000;
const viewMs = 2_000;

export interface HandlerParts {
  bus: Bus;
  version: string;
  emit: Emit;
  view: EventsView;
  derivers: readonly Deriver[];
}

export function eventHandlers(parts: HandlerParts): ServeOptions["handlers"] {
  const { bus, view, derivers } = parts;

  /**
   * The newest sequence, once the view holds it. An answer shows every event of what had happened when it was asked; behind a
   * source that is far ahead, after a long absence, it shows what is told so far.
   */
  async function readNewest(): Promise<number> {
    await Promise.all(derivers.map((deriver) => deriver.catchUp(toldMs)));
    const newest = (await lastMessage(bus, stream, everything))?.sequence ?? 0;
    if (await view.reach(newest, viewMs)) return newest;
    throw new ProblemError("unavailable", { detail: "the list of events is catching up", retry_after_ms: 1000 });
  }

  /** The page as soon as something is in it, or empty when the time is up. */
  async function follow(filter: EventFilter, request: EventReadRequest, closing: AbortSignal) {
    const deadline = performance.now() + request.wait_ms;
    for (let after = request.after; ; ) {
      const until = view.newest;
      const page = view.page(filter, { after, until, limit: request.limit });
      const left = deadline - performance.now();
      if (page.sequences.length > 0 || page.after < until || left <= 0 || closing.aborted) return toReply(page, until);
      after = page.after;
      await view.changed(left, closing);
    }
  }

  return [
    handler(emitEvent, {
      intentId: (event) => event.intentid ?? null,
      handle: (event, { principal, intentId, traceparent }) => parts.emit({ event, principal, intentId, traceparent }),
    }),
    handler(readEvents, {
      async handle(request, { principal, decision, closing }) {
        const filter = { ...request, owner: decision?.scope === "all" ? null : principalName(principal) };
        if (request.wait_ms > 0) return follow(filter, request, closing);
        const until = request.until ?? (await readNewest());
        const after = Math.max(
          request.after,
          request.tail === undefined ? 0 : view.beforeLast(filter, request.tail, until),
          request.since_ms === undefined ? 0 : view.beforeTime(request.since_ms, until),
        );
        return toReply(view.page(filter, { after, until, limit: request.limit }), until);
      },
    }),
    handler(healthOperation("events"), { handle: async () => ({ version: parts.version, degraded: [] }) }),
  ];
}

function toReply({ sequences, after, text }: FoundPage, until: number) {
  return { reply: { sequences, after, until }, bytes: new TextEncoder().encode(text) };
}
