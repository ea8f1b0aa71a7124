// What a request says beside its body, as the envelope that travels with it; and the request as the operation's input.
import type { IncomingMessage } from "node:http";
import {
  Envelope,
  invalidRequest,
  limits,
  type Operation,
  type Principal,
  ProblemError,
  parseDurationMs,
  parseQuery,
  querySchema,
} from "@aether/contracts";
import { readJsonBody } from "@aether/http";
import type { z } from "zod";

export type CallEnvelope = Omit<Envelope, "timeout_ms">;

const HeaderValues = Envelope.pick({ intent_id: true, idempotency_key: true });

/** The envelope for a request of this principal; throws ProblemError for headers that are not valid. */
export function toEnvelope(request: IncomingMessage, principal: Principal, requestId: string): CallEnvelope {
  const { headers } = request;
  const token = bearerToken(request);
  const { "aether-intent-id": intentId, "idempotency-key": idempotencyKey, traceparent } = headers;
  const parsed = HeaderValues.safeParse({
    ...(intentId !== undefined && { intent_id: intentId }),
    ...(idempotencyKey !== undefined && { idempotency_key: idempotencyKey }),
  });
  if (!parsed.success) throw invalidRequest(parsed.error, ["headers"]);
  const trace = Envelope.shape.traceparent.safeParse(traceparent);
  return {
    principal,
    request_id: requestId,
    ...parsed.data,
    ...(token !== undefined && { token }),
    // One that is not valid is as none, says W3C Trace Context.
    ...(trace.data !== undefined && { traceparent: trace.data }),
  };
}

/** A token can only narrow what its bearer may do: one that cannot be read, or that is not the only one, is not passed over. */
function bearerToken({ headersDistinct }: IncomingMessage): string | undefined {
  const given = headersDistinct.authorization;
  if (given === undefined) return undefined;
  const token = given.length === 1 ? /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(given[0] ?? "")?.[1] : undefined;
  if (token !== undefined && token.length <= limits.tokenChars) return token;
  throw new ProblemError("token-refused", { detail: "Authorization must be `Bearer` and one token" });
}

export interface CallInput {
  /** The operation's request, held against its schema; as it came, without defaults, so that equal bodies stay equal. */
  input: Record<string, unknown>;
  /** Parameters of the route that are not part of the request. */
  query: Record<string, unknown>;
}

/** The operation's request from path, query and body; throws ProblemError. */
export async function readInput(
  request: IncomingMessage,
  operation: Operation,
  params: Record<string, string>,
  search: URLSearchParams,
): Promise<CallInput> {
  const schema = querySchema(operation);
  const named = parseQuery(schema, search);
  const isOwnQuery = operation.http?.query !== undefined;
  const query = isOwnQuery ? require(schema.safeParse(named)) : {};
  const body = await readBody(request, operation, params);
  const input = { ...body, ...(isOwnQuery ? {} : named), ...params };
  require(operation.request.safeParse(input));
  return { input, query };
}

async function readBody(
  request: IncomingMessage,
  operation: Operation,
  params: Record<string, string>,
): Promise<object> {
  if (operation.http?.method === "GET") return {};
  const body = await readJsonBody(request, { maxBytes: operation.http?.maxBytes ?? limits.requestBodyBytes });
  if (body === undefined) return {};
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw invalidField("", "must be a JSON object");
  // A schema would pass over it in silence.
  if (Object.hasOwn(body, "__proto__")) throw invalidField("__proto__", "unknown field");
  for (const name of Object.keys(params))
    if (Object.hasOwn(body, name)) throw invalidField(name, "is given by the path");
  return body;
}

/** For routes that take none: a body that nobody reads would be a field that nobody refuses. */
export function refuseBody(request: IncomingMessage): void {
  if (request.headers["transfer-encoding"] !== undefined || Number(request.headers["content-length"] ?? "0") > 0) {
    throw invalidField("", "this route takes none");
  }
}

function require<T>(parsed: z.ZodSafeParseResult<T>): T {
  if (!parsed.success) throw invalidRequest(parsed.error);
  return parsed.data;
}

/** Where a reader of server-sent events wants to go on; undefined where it does not say so. */
export function lastEventId({ headers }: IncomingMessage): number | undefined {
  const said = headers["last-event-id"];
  return typeof said === "string" && /^\d{1,15}$/.test(said) ? Number(said) : undefined;
}

/** Milliseconds since the epoch of a time, or of a duration back from now. */
export function toTimeMs(since: string): number {
  const agoMs = parseDurationMs(since);
  return agoMs === null ? Date.parse(since) : Date.now() - agoMs;
}

/** The refusal of one field, or of the whole body where the path is empty. */
export function invalidField(path: string, message: string): ProblemError {
  return new ProblemError("invalid-request", { detail: `${path || "body"}: ${message}`, errors: [{ path, message }] });
}
