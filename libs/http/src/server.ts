// A node:http server with the house rules: every refusal is a problem document, also those that Node makes by itself; no
// header is dropped unseen; a request that a browser page could have made is refused before its route is looked at.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { createId, ProblemError } from "@aether/contracts";
import { problemMessage, writeProblem } from "./write.ts";

const headersTimeoutMs = 10_000;
const keepAliveTimeoutMs = 60_000;
const smallBodyBytes = 1024 * 1024;
/** How much of a body that nobody wants is read, so that its sender gets to read the answer. */
const lingerBytes = 16 * 1024 * 1024;
const lingerMs = 2_000;

/** One request and its answer. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
}

export interface ProblemServerOptions {
  /** Answers the request; a ProblemError it throws becomes the answer. */
  handle(exchange: Exchange): Promise<void>;
  /** Told of what is not a ProblemError; the caller sees an internal error and the request id only. */
  onUnexpected(error: unknown, exchange: Exchange): void;
  maxHeaderBytes: number;
}

/** Makes the server; it does not listen yet. */
export function createProblemServer(options: ProblemServerOptions): Server {
  const server = createServer({
    maxHeaderSize: options.maxHeaderBytes,
    headersTimeout: headersTimeoutMs,
    // A body may take as long as it comes: whoever reads one says how long he waits for the next piece.
    requestTimeout: 0,
    keepAliveTimeout: keepAliveTimeoutMs,
    requireHostHeader: false,
    noDelay: false,
  });
  // Node's own limit drops what is over it in silence; the size of all headers is what bounds them.
  server.maxHeadersCount = 0;
  server.on("request", (request, response) => void answer(options, request, response));
  server.on("checkExpectation", (request, response) => {
    refuse(
      request,
      response,
      new ProblemError("invalid-request", { detail: "Expect: only 100-continue is understood" }),
      createId("req"),
    );
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => refuseConnection(socket, toProblem(error)));
  server.on("connect", (_request, socket) => refuseConnection(socket, new ProblemError("method-not-allowed")));
  return server;
}

async function answer(
  options: ProblemServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const exchange: Exchange = { request, response, requestId: createId("req") };
  response.setHeader("Aether-Request-Id", exchange.requestId);
  try {
    assertNotFromPage(request);
    await options.handle(exchange);
  } catch (error) {
    if (!(error instanceof ProblemError)) options.onUnexpected(error, exchange);
    if (response.headersSent) response.destroy();
    else
      refuse(
        request,
        response,
        error instanceof ProblemError ? error : new ProblemError("internal-error"),
        exchange.requestId,
      );
  }
}

/** A page's requests carry an Origin, and one that rebinds a name to this machine comes under a name with a dot. */
function assertNotFromPage(request: IncomingMessage): void {
  if (request.headers.origin !== undefined)
    throw new ProblemError("origin-refused", { detail: "requests with an Origin are refused" });
  const hosts = request.headersDistinct.host ?? [];
  if (hosts.some((host) => host.includes("."))) {
    throw new ProblemError("origin-refused", { detail: "the Host must be a name without a dot, such as `aether`" });
  }
  if (hosts.length > 1 || (hosts.length === 0 && request.httpVersion === "1.1")) {
    throw new ProblemError("invalid-request", { detail: "exactly one Host header is needed" });
  }
}

function refuse(request: IncomingMessage, response: ServerResponse, error: ProblemError, requestId: string): void {
  // What is left of a small body Node reads away by itself, where the connection goes on.
  const leftBytes = request.complete ? 0 : Number(request.headers["content-length"] ?? Number.POSITIVE_INFINITY);
  if (leftBytes === 0 || (leftBytes <= smallBodyBytes && response.shouldKeepAlive)) {
    writeProblem(response, error, requestId);
    return;
  }
  response.setHeader("Connection", "close");
  writeProblem(response, error, requestId, { end: false });
  readAway(request, () => response.end());
}

/** Reads on for a while and throws it away; closing at once would reset the connection before the answer is read. */
function readAway(request: IncomingMessage, done: () => void): void {
  let leftBytes = lingerBytes;
  const timer = setTimeout(done, lingerMs);
  const finish = () => {
    clearTimeout(timer);
    done();
  };
  request.once("close", finish);
  request.once("end", finish);
  request.on("error", finish);
  request.on("data", (chunk: Buffer) => {
    leftBytes -= chunk.length;
    if (leftBytes < 0) finish();
  });
}

function toProblem(error: NodeJS.ErrnoException): ProblemError {
  if (error.code === "HPE_HEADER_OVERFLOW") return new ProblemError("headers-too-large");
  if (error.code === "HPE_CHUNK_EXTENSIONS_OVERFLOW")
    return new ProblemError("too-large", { detail: "the chunk extensions are too large" });
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT")
    return new ProblemError("invalid-request", { detail: "the request did not arrive in time" });
  return new ProblemError("invalid-request", { detail: "this is not an HTTP request" });
}

function refuseConnection(socket: Duplex, error: ProblemError): void {
  if (!socket.writable || socket.destroyed) {
    socket.destroy();
    return;
  }
  socket.on("error", () => socket.destroy());
  socket.end(problemMessage(error, createId("req"), error.problem.title));
  // The rest of what was sent is read away, or the answer would be lost to a reset; then the connection ends.
  socket.resume();
  setTimeout(() => socket.destroy(), lingerMs).unref();
}
