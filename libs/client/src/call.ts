// One request and its answer: JSON held against a schema, or the problem document as an exception.
import { Problem, ProblemError } from "@aether/contracts";
import { readText } from "@aether/http";
import type { z } from "zod";
import type { Transport, TransportRequest, TransportResponse } from "./transport.ts";

const answerMaxBytes = 256 * 1024 * 1024;

/** Sends a request and answers the parsed reply; throws ProblemError. `accept` are statuses beside 2xx that carry a reply. */
export async function requestJson<T extends z.ZodType>(
  transport: Transport,
  request: TransportRequest,
  reply: T,
  accept: readonly number[] = [],
): Promise<z.infer<T>> {
  const response = await transport.request(request);
  if (!isOk(response.status) && !accept.includes(response.status)) throw await toProblemError(response);
  const text = await readText(response.body, answerMaxBytes);
  const parsed = reply.safeParse(parseJson(text));
  if (!parsed.success) {
    throw new Error(`${request.method} ${request.path} answered something else than its contract`, {
      cause: parsed.error,
    });
  }
  return parsed.data;
}

/** Sends a request and answers the text that comes; throws ProblemError. */
export async function requestText(transport: Transport, request: TransportRequest): Promise<string> {
  const response = await transport.request(request);
  if (!isOk(response.status)) throw await toProblemError(response);
  return readText(response.body, answerMaxBytes);
}

/** The exception for an answer that is no success. */
export async function toProblemError(response: TransportResponse): Promise<ProblemError> {
  const text = await readText(response.body, answerMaxBytes);
  const problem = Problem.safeParse(parseJson(text));
  if (problem.success) return ProblemError.from(problem.data);
  return new ProblemError("internal-error", {
    status: response.status,
    detail: `answered ${response.status} without a problem document`,
  });
}

export function isOk(status: number): boolean {
  return status >= 200 && status < 300;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // what is not JSON fails the schema that it is held against next
  }
}
