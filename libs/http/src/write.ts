// Complete answers: JSON documents and problem documents.
import type { ServerResponse } from "node:http";
import type { Problem, ProblemError } from "@aether/contracts";

const defaultRetryAfterMs = 1000;

/** Answers with a JSON document. */
export function writeJson(response: ServerResponse, status: number, value: unknown): void {
  writeBody(response, status, "application/json", JSON.stringify(value));
}

/** Answers with a text of its own media type. */
export function writeText(response: ServerResponse, type: string, text: string): void {
  writeBody(response, 200, type, text);
}

/** Answers with an RFC 9457 problem document; `instance` becomes the request's id. With `end: false` it is left to end. */
export function writeProblem(
  response: ServerResponse,
  error: ProblemError,
  requestId: string,
  options: { end?: boolean } = {},
): void {
  const problem = toDocument(error, requestId);
  for (const [name, value] of Object.entries(problemHeaders(problem))) response.setHeader(name, value);
  writeBody(response, problem.status, "application/problem+json", JSON.stringify(problem), options.end);
}

/** The same as bytes on the wire, for connections that never became a request. */
export function problemMessage(error: ProblemError, requestId: string, reason: string): string {
  const problem = toDocument(error, requestId);
  const body = JSON.stringify(problem);
  const headers = {
    "Content-Type": "application/problem+json",
    "Content-Length": Buffer.byteLength(body),
    "Aether-Request-Id": requestId,
    Connection: "close",
    ...problemHeaders(problem),
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${problem.status} ${reason}\r\n${lines.join("")}\r\n${body}`;
}

function toDocument(error: ProblemError, requestId: string): Problem {
  return { ...error.problem, instance: `urn:aether:request:${requestId}` };
}

function problemHeaders(problem: Problem): Record<string, string> {
  if (problem.status === 401) return { "WWW-Authenticate": 'Bearer error="invalid_token"' };
  if (problem.status !== 503 && problem.status !== 429) return {};
  return { "Retry-After": String(Math.ceil((problem.retry_after_ms ?? defaultRetryAfterMs) / 1000)) };
}

function writeBody(response: ServerResponse, status: number, type: string, body: string, end = true): void {
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
  // As text it leaves in one write together with the head.
  if (end) response.end(body);
  else response.write(body);
}
