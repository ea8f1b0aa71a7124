// Events: a follow goes on after the last sequence it was told of, by an event or by a heartbeat, and never ends by itself.
import { type CloudEvent, EventFrame, type EventQuery, formatQuery, readEvents } from "@aether/contracts";
import { type FollowOptions, type Reading, readResumed, toError } from "./resume.ts";
import type { Transport } from "./transport.ts";

type Filters = Partial<
  Pick<EventQuery, "after" | "tail" | "since" | "limit" | "type" | "intent_id" | "job_id" | "source">
>;
export type EventOptions = FollowOptions & Filters;

/** Events in order, each once, without heartbeats. Throws ProblemError. */
export function readEventBatches(
  transport: Transport,
  options: EventOptions,
): AsyncGenerator<CloudEvent[], void, void> {
  const { signal: _signal, resumeForMs: _resumeForMs, follow, tail, since, limit, ...filters } = options;
  let { after } = filters;
  let left = limit;
  const reading: Reading<CloudEvent> = {
    path() {
      // Once something has come, its sequence says where to go on.
      const from = after === undefined ? { tail, since } : { after, ...(filters.after !== undefined && { since }) };
      const query = { ...filters, ...from, limit: left, ...(follow && { follow: 1 }) };
      return `/v0${readEvents.http?.path}${formatQuery(query)}`;
    },
    take(values) {
      const frames: CloudEvent[] = [];
      for (const value of values) {
        const frame = EventFrame.parse(value);
        if ("specversion" in frame) {
          frames.push(frame);
          after = Number(frame.sequence);
        } else if (frame.type === "error") return { frames, end: toError(frame.problem) };
        else after = frame.after;
      }
      if (left !== undefined) left -= frames.length;
      return { frames, end: left === 0 ? "last" : null };
    },
  };
  return readResumed(transport, reading, options);
}
