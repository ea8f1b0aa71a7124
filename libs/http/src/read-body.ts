// The body of a request, JSON or bytes, bounded before it is read: its size, its type and its encoding are settled first, and
// an error never leaves an unread body on a connection that goes on.
import type { IncomingMessage } from "node:http";
import { ProblemError } from "@aether/contracts";

const bodyTimeoutMs = 60_000;

export interface ReadBodyOptions {
  maxBytes: number;
}

/** The parsed body, undefined where there is none; throws ProblemError. */
export async function readJsonBody(request: IncomingMessage, options: ReadBodyOptions): Promise<unknown> {
  assertSize(request, options);
  if (!hasBody(request)) return undefined;
  assertJson(request);
  const bytes = await collect(request, options.maxBytes);
  return bytes.length === 0 ? undefined : parseJson(bytes);
}

/** The body as it is, of whatever type; throws ProblemError. */
export async function readBytesBody(request: IncomingMessage, options: ReadBodyOptions): Promise<Buffer> {
  assertSize(request, options);
  assertNotCompressed(request);
  return collect(request, options.maxBytes);
}

function assertSize(request: IncomingMessage, { maxBytes }: ReadBodyOptions): void {
  if (Number(request.headers["content-length"] ?? "0") > maxBytes) throw tooLarge(maxBytes);
}

function hasBody(request: IncomingMessage): boolean {
  return request.headers["transfer-encoding"] !== undefined || Number(request.headers["content-length"] ?? "0") > 0;
}

function assertJson(request: IncomingMessage): void {
  const [type, ...parameters] = (request.headers["content-type"] ?? "")
    .toLowerCase()
    .split(";")
    .map((part) => part.trim());
  const charset = parameters
    .find((parameter) => parameter.startsWith("charset="))
    ?.slice("charset=".length)
    .replaceAll('"', "");
  // JSON under a name of its own, such as application/cloudevents+json, is JSON.
  const isJson = /^application\/([a-z0-9.-]+\+)?json$/.test(type ?? "");
  if (!isJson || (charset !== undefined && charset !== "utf-8" && charset !== "utf8")) {
    throw new ProblemError("unsupported-media-type", { detail: "the body must be application/json in UTF-8" });
  }
  assertNotCompressed(request);
}

function assertNotCompressed({ headers }: IncomingMessage): void {
  const encoding = headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity") {
    throw new ProblemError("unsupported-media-type", { detail: "the body must not be compressed" });
  }
}

async function collect(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  const late = setTimeout(() => request.destroy(new Error("the body took too long")), bodyTimeoutMs);
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      sizeBytes += chunk.length;
      if (sizeBytes > maxBytes) throw tooLarge(maxBytes);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof ProblemError) throw error;
    throw new ProblemError("invalid-request", { detail: "the body ended before it was complete" }, { cause: error });
  } finally {
    clearTimeout(late);
  }
  return Buffer.concat(chunks, sizeBytes);
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const detail = error instanceof SyntaxError ? "the body is not valid JSON" : "the body is not valid UTF-8";
    throw new ProblemError("invalid-request", { detail, errors: [{ path: "", message: detail }] }, { cause: error });
  }
}

function tooLarge(maxBytes: number): ProblemError {
  return new ProblemError("too-large", { detail: `the body must be at most ${maxBytes} bytes` });
}
