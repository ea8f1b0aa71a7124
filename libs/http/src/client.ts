// The calling side: one request over a unix socket, and words for the two ways in which a person's first call fails.
import { readFileSync, statSync } from "node:fs";
import { type Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";

export interface UnixRequest {
  socketPath: string;
  method: string;
  path: string;
  headers?: Record<string, string>;
  /** Parts are sent as they are asked for; without a `Content-Length` of the caller as chunks. */
  body?: string | Uint8Array | AsyncIterable<Uint8Array>;
  signal?: AbortSignal;
  /** An agent with `keepAlive` shares connections between requests; without one each has its own. */
  agent?: Agent;
}

export interface UnixResponse {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  /** Read it to its end, or destroy it. */
  readonly body: IncomingMessage;
  /** Known once the body has ended. */
  trailers(): IncomingMessage["trailers"];
}

/** Nobody could be reached at the socket; the message says what to do about it. */
export class ConnectError extends Error {
  readonly socketPath: string;

  constructor(socketPath: string, message: string, options: ErrorOptions) {
    super(message, options);
    this.name = "ConnectError";
    this.socketPath = socketPath;
  }
}

/** Sends a request and answers as soon as the head of the response is there; throws ConnectError. */
export async function requestUnix(options: UnixRequest): Promise<UnixResponse> {
  try {
    return await send(options);
  } catch (error) {
    throw explain(error, options.socketPath);
  }
}

function send(options: UnixRequest, retried = false): Promise<UnixResponse> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      socketPath: options.socketPath,
      method: options.method,
      path: options.path,
      headers: { Host: "aether", ...options.headers, ...bodyHeaders(options.body) },
      agent: options.agent ?? false,
      ...(options.signal && { signal: options.signal }),
    });
    request.once("response", (response) => {
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: response,
        trailers: () => response.trailers,
      });
    });
    request.once("error", (error: NodeJS.ErrnoException) => {
      // A kept connection that the server closed while it was idle: the request was never read, so it is sent once more.
      const idle = request.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
      if (idle && options.method === "GET" && !retried) resolve(send(options, true));
      else reject(error);
    });
    const { body } = options;
    if (typeof body === "object" && Symbol.asyncIterator in body)
      sendParts(request, body).catch((error) => request.destroy(error));
    else request.end(body);
  });
}

/** Sends a body part by part; who is answered before its end has been refused, and sends no more. */
async function sendParts(request: ClientRequest, parts: AsyncIterable<Uint8Array>): Promise<void> {
  let isAnswered = false;
  request.once("response", () => {
    isAnswered = true;
  });
  for await (const part of parts) {
    if (isAnswered || request.destroyed) return;
    if (!request.write(part)) await untilAny(request, "drain", "response", "close");
  }
  if (!isAnswered) request.end();
}

function untilAny(request: ClientRequest, ...events: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of events) request.off(event, done);
      resolve();
    };
    for (const event of events) request.on(event, done);
    if (request.destroyed) done();
  });
}

function bodyHeaders(body: UnixRequest["body"]): Record<string, string | number> {
  if (typeof body === "object" && Symbol.asyncIterator in body) return {};
  return body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) };
}

function explain(error: unknown, socketPath: string): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT" || code === "ECONNREFUSED") {
    return new ConnectError(socketPath, `nobody serves ${socketPath}: is it running? Start it with \`aether up\`.`, {
      cause: error,
    });
  }
  if (code === "EACCES" || code === "EPERM") {
    const message = `you may not open ${socketPath}: ${whoMay(socketPath)}`;
    return new ConnectError(socketPath, message, { cause: error });
  }
  return error;
}

function whoMay(socketPath: string): string {
  const found = statQuietly(socketPath);
  if (!found) return "its folder is closed to you.";
  const group = groupName(found.gid);
  return found.gid === 0
    ? "it belongs to root alone."
    : `it is open to the group ${group}. Join it with \`sudo usermod -aG ${group} "$USER"\` and log in again.`;
}

function statQuietly(path: string) {
  try {
    return statSync(path);
  } catch {
    // Not even its folder may be searched, which is an answer too.
    return undefined;
  }
}

function groupName(gid: number): string {
  const line = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((entry) => entry.split(":")[2] === String(gid));
  return line?.split(":")[0] ?? String(gid);
}
