// `GET /v0/jobs/{id}/logs`: loops over pages and writes frames.
//
// Exactly once, in order: the place of the next page comes from the page before it and moves only when that page has come;
// a page that fails is asked for again from the same place. While one page is being written the next one is on its way, so
// a slow reader holds two pages and no more. What fails before the first page becomes the status of the answer; later, an
// `error` frame, or, in raw, a transfer that is visibly cut off.
import { constants } from "node:os";
import { setTimeout } from "node:timers/promises";
import type { Bus } from "@aether/bus";
import {
  invalidRequest,
  type LogPage,
  LogQuery,
  type LogReadRequest,
  ProblemError,
  parseDurationMs,
  parseQuery,
  readLogs,
} from "@aether/contracts";
import { type Exchange, openStream, type ResponseStream } from "@aether/http";
import type { Logger } from "@aether/telemetry";
import { ask, untilGone, within } from "./ask.ts";
import type { CallEnvelope } from "./call.ts";
import { contentTypes, type FrameOptions, formatFrame, formatPage } from "./log-frames.ts";

const exitCodeTrailer = "Aether-Exit-Code";
/** How long the service may hold a page back while there is nothing new; short, so that a service that died is noticed. */
const pageWaitMs = 2_000;
const pageMarginMs = 5_000;
const retryStepMs = 100;
const retryStepMaxMs = 1_000;

export interface LogContext {
  bus: Bus;
  log: Logger;
  closing: AbortSignal;
  heartbeatMs: number;
  /** How long a follow outlives the services it reads from. */
  retryForMs: number;
}

export interface LogCall {
  id: string;
  search: URLSearchParams;
  envelope: CallEnvelope;
}

type Page = { reply: LogPage; bytes: Uint8Array };

/** Answers a request for a log; throws ProblemError while nothing has been sent. */
export async function answerLogs(context: LogContext, exchange: Exchange, call: LogCall): Promise<void> {
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
  try {
    await writePages(context, stream, { query, first, page, read, signal });
  } catch (error) {
    endBroken(context, stream, { error, format: query.format, requestId: exchange.requestId });
  }
}

interface Reading {
  query: LogQuery;
  first: LogReadRequest;
  page: Page;
  read(place: LogReadRequest): Promise<Page>;
  signal: AbortSignal;
}

async function writePages(context: LogContext, stream: ResponseStream, reading: Reading): Promise<void> {
  const { query, signal } = reading;
  const beat = formatFrame({ type: "heartbeat" }, query.format);
  let { page, first: place } = reading;
  let after = query.after ?? 0;
  let writtenAt = performance.now();
  const write = async (data: string | Uint8Array) => {
    if (data.length === 0) return;
    await stream.write(data);
    writtenAt = performance.now();
  };
  for (;;) {
    const eof = page.reply.eof;
    const next = nextPlace(place, page.reply, query.follow);
    const coming = next && readAgain(context, reading, next);
    // Its failure is seen when it is awaited, which a failing write may prevent.
    coming?.catch(() => {});
    await write(formatPage(page.reply, page.bytes, frameOptions(query, after, eof?.last_seq)));
    if (!next || !coming) return end(stream, query, eof);
    after = Math.max(after, page.reply.after);
    place = next;
    for (;;) {
      const arrived = await within(coming, writtenAt + context.heartbeatMs - performance.now());
      if (arrived) {
        page = arrived;
        break;
      }
      signal.throwIfAborted();
      await write(beat);
      writtenAt = performance.now();
    }
  }
}

/** Where the next page begins; null after the last one. */
function nextPlace(place: LogReadRequest, page: LogPage, follow: boolean): LogReadRequest | null {
  const moved = page.batches.length > 0 || page.after !== place.after || page.position !== place.position;
  if (page.eof || (!follow && !moved)) return null;
  const { tail: _, ...rest } = place;
  return { ...rest, after: page.after, position: page.position, wait_ms: follow ? pageWaitMs : 0 };
}

/** Asks until the services are back; each try from the same place. */
async function readAgain({ retryForMs }: LogContext, { read, signal }: Reading, place: LogReadRequest): Promise<Page> {
  const giveUpAt = performance.now() + retryForMs;
  for (let stepMs = retryStepMs; ; stepMs = Math.min(2 * stepMs, retryStepMaxMs)) {
    try {
      return await read(place);
    } catch (error) {
      const passing = error instanceof ProblemError && (error.problem.status === 503 || error.problem.status === 504);
      if (!passing || signal.aborted || performance.now() > giveUpAt) throw error;
    }
    await setTimeout(stepMs, undefined, { signal });
  }
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

function endBroken(
  context: LogContext,
  stream: ResponseStream,
  { error, format, requestId }: { error: unknown; format: LogQuery["format"]; requestId: string },
): void {
  if (stream.gone.aborted) return;
  if (format === "raw") {
    stream.abort();
    return;
  }
  // A follow that the gateway itself ends has no `eof`: its reader comes back and goes on after the last seq it saw.
  if (context.closing.aborted) {
    stream.end();
    return;
  }
  if (!(error instanceof ProblemError)) context.log.error({ err: error, request_id: requestId }, "log stream failed");
  const { problem } = error instanceof ProblemError ? error : new ProblemError("internal-error");
  const frame = { type: "error", problem: { ...problem, instance: `urn:aether:request:${requestId}` } } as const;
  stream.write(formatFrame(frame, format)).then(
    () => stream.end(),
    () => stream.abort(),
  );
}

function toRead({ request }: Exchange, call: LogCall): { query: LogQuery; first: LogReadRequest } {
  const parsed = LogQuery.safeParse(parseQuery(LogQuery, call.search));
  if (!parsed.success) throw invalidRequest(parsed.error);
  const query: LogQuery = { ...parsed.data };
  if (query.after !== undefined && query.tail !== undefined) throw invalidQuery("tail", "not together with after");
  if (!call.search.has("format") && request.headers.accept?.startsWith(contentTypes.sse)) query.format = "sse";
  const lastSeen = query.format === "sse" ? request.headers["last-event-id"] : undefined;
  if (typeof lastSeen === "string" && /^\d{1,15}$/.test(lastSeen)) {
    query.after = Number(lastSeen);
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

function toTimeMs(since: string): number {
  const agoMs = parseDurationMs(since);
  return agoMs === null ? Date.parse(since) : Date.now() - agoMs;
}

function frameOptions(query: LogQuery, after: number, upTo: number | undefined): FrameOptions {
  return {
    format: query.format,
    after,
    ...(query.stream && { stream: query.stream }),
    ...(upTo !== undefined && { upTo }),
  };
}

function invalidQuery(path: string, message: string): ProblemError {
  return new ProblemError("invalid-request", { detail: `${path}: ${message}`, errors: [{ path, message }] });
}
