// `GET /v0/jobs/{id}/logs`: pages of raw lines in, frames out. The log is over when a page carries its end.
import { constants } from "node:os";
import { invalidRequest, type LogPage, LogQuery, type LogReadRequest, parseQuery, readLogs } from "@aether/contracts";
import { type Exchange, openStream, type ResponseStream } from "@aether/http";
import { ask, untilGone } from "./ask.ts";
import { type CallEnvelope, invalidField, lastEventId, toTimeMs } from "./call.ts";
import { contentTypes, type FrameOptions, formatFrame, formatPage } from "./log-frames.ts";
import { endBroken, type PageContext, pageMarginMs, pageWaitMs, writePages } from "./pages.ts";

const exitCodeTrailer = "Aether-Exit-Code";

export interface LogCall {
  id: string;
  search: URLSearchParams;
  envelope: CallEnvelope;
}

/** Answers a request for a log; throws ProblemError while nothing has been sent. */
export async function answerLogs(context: PageContext, exchange: Exchange, call: LogCall): Promise<void> {
  const { query, first } = toRead(exchange, call);
  const signal = untilGone(exchange.response, context.closing);
  const read = (place: LogReadRequest) =>
    ask(context.bus, readLogs, place, {
      envelope: call.envelope,
      timeoutMs: (place.wait_ms ?? 0) + pageMarginMs,
      signal,
    });
  const page = await read(first);
  const stream = openStream(exchange.response, {
    contentType: contentTypes[query.format],
    trailers: query.format === "raw" ? [exitCodeTrailer] : [],
  });
  const { format } = query;
  let after = query.after ?? 0;
  try {
    const last = await writePages(context, stream, {
      ...{ first, page, read, signal },
      next: (place, { reply }) => nextPlace(place, reply, query.follow),
      format({ reply, bytes }) {
        const text = formatPage(reply, bytes, frameOptions(query, after, reply.eof?.last_seq));
        after = Math.max(after, reply.after);
        return text;
      },
      beat: () => formatFrame({ type: "heartbeat" }, format),
    });
    await end(stream, query, last.reply.eof);
  } catch (error) {
    const { requestId } = exchange;
    endBroken(context, stream, {
      ...{ error, requestId },
      format: (problem) => (format === "raw" ? null : formatFrame({ type: "error", problem }, format)),
    });
  }
}

/** Where the next page begins; null after the last one. */
function nextPlace(place: LogReadRequest, page: LogPage, follow: boolean): LogReadRequest | null {
  const moved = page.batches.length > 0 || page.after !== place.after || page.position !== place.position;
  if (page.eof || (!follow && !moved)) return null;
  const { tail: _, ...rest } = place;
  return { ...rest, after: page.after, position: page.position, wait_ms: follow ? pageWaitMs : 0 };
}

async function end(stream: ResponseStream, query: LogQuery, eof: LogPage["eof"]): Promise<void> {
  if (query.follow && eof) await stream.write(formatFrame({ type: "eof", ...eof }, query.format));
  stream.end(query.format === "raw" && eof ? { [exitCodeTrailer]: String(exitCodeOf(eof)) } : undefined);
}

/** As a shell would say it: the job's own code, 128 and the signal's number, 124 after its timeout, 125 for the rest. */
function exitCodeOf(eof: NonNullable<LogPage["eof"]>): number {
  if (eof.state === "timed_out") return 124;
  if (eof.exit_code !== null) return eof.exit_code;
  const number = Object.entries(constants.signals).find(([name]) => name === eof.signal)?.[1];
  return number === undefined ? 125 : 128 + number;
}

function toRead({ request }: Exchange, call: LogCall): { query: LogQuery; first: LogReadRequest } {
  const parsed = LogQuery.safeParse(parseQuery(LogQuery, call.search));
  if (!parsed.success) throw invalidRequest(parsed.error);
  const query: LogQuery = { ...parsed.data };
  if (query.after !== undefined && query.tail !== undefined) throw invalidField("tail", "not together with after");
  if (!call.search.has("format") && request.headers.accept?.startsWith(contentTypes.sse)) query.format = "sse";
  const lastSeen = query.format === "sse" ? lastEventId(request) : undefined;
  if (lastSeen !== undefined) {
    query.after = lastSeen;
    delete query.tail;
  }
  const first: LogReadRequest = {
    id: call.id,
    after: query.after ?? 0,
    wait_ms: 0,
    ...(query.tail !== undefined && { tail: query.tail }),
    ...(query.since !== undefined && { since_ms: toTimeMs(query.since) }),
  };
  const read = readLogs.request.safeParse(first);
  if (!read.success) throw invalidRequest(read.error);
  return { query, first };
}

function frameOptions(query: LogQuery, after: number, upTo: number | undefined): FrameOptions {
  return {
    format: query.format,
    after,
    ...(query.stream && { stream: query.stream }),
    ...(upTo !== undefined && { upTo }),
  };
}
