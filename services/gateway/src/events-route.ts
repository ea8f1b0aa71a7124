// `GET /v0/events`: pages of events in, one event a line out, as the service wrote it. What is not followed ends with what was
// stored when it was asked for.
import {
  type EventPage,
  EventQuery,
  type EventReadRequest,
  invalidRequest,
  limits,
  parseQuery,
  readEvents,
} from "@aether/contracts";
import { type Exchange, openStream } from "@aether/http";
import { ask, untilGone } from "./ask.ts";
import { type CallEnvelope, invalidField, lastEventId, toTimeMs } from "./call.ts";
import { endBroken, type PageContext, pageMarginMs, pageWaitMs, writePages } from "./pages.ts";

const contentTypes = { ndjson: "application/x-ndjson", sse: "text/event-stream" };

type Format = EventQuery["format"];

/** Answers a request for events; throws ProblemError while nothing has been sent. */
export async function answerEvents(
  context: PageContext,
  exchange: Exchange,
  { search, envelope }: { search: URLSearchParams; envelope: CallEnvelope },
): Promise<void> {
  const { query, first } = toRead(exchange, search);
  const signal = untilGone(exchange.response, context.closing);
  const read = (place: EventReadRequest) =>
    ask(context.bus, readEvents, place, { envelope, timeoutMs: place.wait_ms + pageMarginMs, signal });
  const page = await read(first);
  const { format } = query;
  const stream = openStream(exchange.response, { contentType: contentTypes[format] });
  let left = query.limit ?? Number.POSITIVE_INFINITY;
  try {
    await writePages(context, stream, {
      ...{ first, page, read, signal },
      next(place, { reply }) {
        left -= reply.sequences.length;
        return nextPlace(place, reply, query.follow, left);
      },
      format: ({ reply, bytes }) => formatPage(reply, bytes, format),
      beat: ({ after }) => formatFrame({ type: "heartbeat", after }, format),
    });
    stream.end();
  } catch (error) {
    const { requestId } = exchange;
    endBroken(context, stream, {
      ...{ error, requestId },
      format: (problem) => formatFrame({ type: "error", problem }, format),
    });
  }
}

/** Where the next page begins; null when it is over. */
function nextPlace(
  { tail: _tail, since_ms: _since, until: _until, ...place }: EventReadRequest,
  { after, until }: EventPage,
  follow: boolean,
  left: number,
): EventReadRequest | null {
  if (left <= 0) return null;
  const next = { ...place, after, limit: Math.min(left, limits.pageMax) };
  if (follow) return { ...next, wait_ms: pageWaitMs };
  return after < until ? { ...next, until } : null;
}

function formatPage({ sequences }: EventPage, bytes: Uint8Array, format: Format): string | Uint8Array {
  if (format === "ndjson" || sequences.length === 0) return bytes;
  const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8").split("\n");
  return sequences.map((sequence, index) => `id: ${sequence}\ndata: ${lines[index]}\n\n`).join("");
}

/** A heartbeat of server-sent events carries its place as an id without data: a reader goes on from there, and is told nothing. */
function formatFrame(
  frame: { type: "heartbeat"; after: number } | { type: "error"; problem: object },
  format: Format,
): string {
  if (format === "ndjson") return `${JSON.stringify(frame)}\n`;
  return frame.type === "heartbeat" ? `id: ${frame.after}\n: heartbeat\n\n` : `data: ${JSON.stringify(frame)}\n\n`;
}

function toRead({ request }: Exchange, search: URLSearchParams): { query: EventQuery; first: EventReadRequest } {
  const parsed = EventQuery.safeParse(parseQuery(EventQuery, search));
  if (!parsed.success) throw invalidRequest(parsed.error);
  const query: EventQuery = { ...parsed.data };
  if (query.after !== undefined && query.tail !== undefined) throw invalidField("tail", "not together with after");
  if (!search.has("format") && request.headers.accept?.startsWith(contentTypes.sse)) query.format = "sse";
  const lastSeen = query.format === "sse" ? lastEventId(request) : undefined;
  if (lastSeen !== undefined) {
    query.after = lastSeen;
    delete query.tail;
  }
  const { follow: _follow, format: _format, since, after = 0, limit = limits.pageMax, ...rest } = query;
  const first = readEvents.request.safeParse({
    ...rest,
    after,
    limit: Math.min(limit, limits.pageMax),
    ...(since !== undefined && { since_ms: toTimeMs(since) }),
  });
  if (!first.success) throw invalidRequest(first.error);
  return { query, first: first.data };
}
