// Events of users. A user's `source` begins with his own principal, whatever he writes, and his events lie under subjects of his
// own: he can neither speak for somebody else nor take an event's place before it comes.
//
// The same (source, id) is stored once, because its subject holds one event: a second append is refused by the stream itself.
// EVENTS drops its oldest, so what one user may fill of it is bounded, and so is what all of them may: the system's events keep
// half of it.
import { appendMessage, type Bus, lastMessage, RevisionConflict } from "@aether/bus";
import {
  type CloudEvent,
  type EventInput,
  limits,
  type Principal,
  ProblemError,
  principalName,
} from "@aether/contracts";
import type { EventsView } from "./events-view.ts";
import { headerNames, sha256, stream, userSubject, withSequence } from "./stored-event.ts";

const ownShare = 1 / 8;
const allShare = 1 / 2;
const fullRetryMs = 60_000;

interface Emitted {
  event: EventInput;
  principal: Principal;
  intentId: string | null;
  traceparent: string | undefined;
}

export type Emit = (emitted: Emitted) => Promise<CloudEvent>;

/** Makes what stores events of users in a stream of that size. */
export function createEmit(bus: Bus, view: Pick<EventsView, "emittedBytes">, streamMaxBytes: number): Emit {
  return async (emitted) => {
    const owner = principalName(emitted.principal);
    requireRoom(view.emittedBytes(owner), streamMaxBytes);
    const source = toSource(emitted.principal, emitted.event.source ?? null);
    const subject = userSubject(owner, source, emitted.event.id);
    const digest = `sha256:${sha256(JSON.stringify({ ...emitted.event, source }))}`;
    const text = JSON.stringify(toStored(emitted, source));
    try {
      const more = {
        "Content-Type": "application/cloudevents+json",
        [headerNames.owner]: owner,
        [headerNames.digest]: digest,
      };
      const sequence = await appendMessage(bus, subject, new TextEncoder().encode(text), 0, { headers: more });
      return parse(text, sequence);
    } catch (error) {
      if (error instanceof RevisionConflict) return await findFirst(bus, subject, digest, error);
      throw error;
    }
  };
}

function requireRoom({ own, all }: { own: number; all: number }, streamMaxBytes: number): void {
  if (own < streamMaxBytes * ownShare && all < streamMaxBytes * allShare) return;
  throw new ProblemError("too-many-requests", {
    detail: `emitted events are kept for ${limits.eventsRetentionMs / 86_400_000} days and have filled what they may`,
    retry_after_ms: fullRetryMs,
  });
}

/** `/user/1000`, and below it what the user wrote. */
function toSource({ type, id }: Principal, said: string | null): string {
  const own = `/${type.toLowerCase()}/${encodeURIComponent(id)}`;
  return said === null ? own : `${own}/${said.replace(/^\/+/, "")}`;
}

/** The event with what it does not say itself, without what it says by null. */
function toStored({ event, intentId, traceparent }: Emitted, source: string): object {
  const said = Object.entries(event).filter(([name, value]) => name === "data" || value !== null);
  return {
    time: new Date().toISOString(),
    ...(intentId !== null && { intentid: intentId }),
    ...(traceparent !== undefined && { traceparent }),
    ...Object.fromEntries(said),
    source,
  };
}

/** What came first under this name: the same event again, or another one. */
async function findFirst(bus: Bus, subject: string, digest: string, cause: Error): Promise<CloudEvent> {
  const first = await lastMessage(bus, stream, subject);
  if (!first) throw new ProblemError("unavailable", { detail: "the event was dropped just now" }, { cause });
  if (first.header(headerNames.digest) !== digest) {
    throw new ProblemError("conflict", { detail: "another event has this source and id" });
  }
  return parse(new TextDecoder().decode(first.data), first.sequence);
}

function parse(text: string, sequence: number): CloudEvent {
  return JSON.parse(withSequence(text, sequence)) as CloudEvent;
}
