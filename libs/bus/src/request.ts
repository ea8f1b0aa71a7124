// The calling side of an operation. Whatever comes back is held against the contract: an answer that does not parse is a
// failure, never a value. A missing or late answer is a problem that says whether the act may have happened.
import { type Envelope, limits, type Operation, Problem, ProblemError, subjectOf } from "@aether/contracts";
import { headers, type Msg, NoRespondersError, RequestError, TimeoutError } from "@nats-io/transport-node";
import type { z } from "zod";
import type { Bus } from "./connection.ts";
import { type Bytes, decodeBody, encodeBody } from "./frame.ts";

export const envelopeHeader = "Aether-Envelope";
const retryAfterMs = 1000;

export interface RequestOptions {
  envelope: Omit<Envelope, "timeout_ms">;
  bytes?: Bytes;
  /** Instead of the operation's own timeout. */
  timeoutMs?: number;
}

class ConnectionBroken extends Error {
  constructor() {
    super("the connection broke before the answer came");
    this.name = "ConnectionBroken";
  }
}

/** Sends a request and answers the parsed reply; throws ProblemError. */
export async function request<In extends z.ZodType, Out extends z.ZodType>(
  bus: Bus,
  operation: Operation<In, Out>,
  input: z.input<In>,
  options: RequestOptions,
): Promise<{ reply: z.infer<Out>; bytes: Uint8Array }> {
  if (!bus.connected) throw unavailable(operation, "the bus is away");
  const timeoutMs = options.timeoutMs ?? operation.timeoutMs ?? limits.requestDeadlineMs;
  const { traceparent } = options.envelope;
  const span = traceparent === undefined ? null : (bus.tracer?.start(operation.name, "client", traceparent) ?? null);
  const envelope: Envelope = {
    ...options.envelope,
    ...(span && { traceparent: span.traceparent }),
    timeout_ms: timeoutMs,
  };
  const head = headers();
  head.set(envelopeHeader, JSON.stringify(envelope));
  const body = encodeBody(input, operation.bytes === "request" ? (options.bytes ?? new Uint8Array(0)) : undefined);
  try {
    const message = await send(bus, operation, body, { headers: head, timeout: timeoutMs });
    const reply = parseReply(operation, message);
    span?.end();
    return reply;
  } catch (error) {
    span?.end(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

async function send(
  bus: Bus,
  operation: Operation,
  body: Uint8Array,
  options: { headers: ReturnType<typeof headers>; timeout: number },
) {
  // A connection that broke takes the answers to everything asked before with it: there is nothing left to wait for.
  const broken = Promise.withResolvers<never>();
  using _ = bus.onReconnect(() => broken.reject(new ConnectionBroken()));
  try {
    return await Promise.race([bus.nats.request(subjectOf(operation, bus.user), body, options), broken.promise]);
  } catch (error) {
    if (error instanceof NoRespondersError || (error instanceof RequestError && error.isNoResponders())) {
      throw unavailable(operation, "nobody answers", error);
    }
    const mayHaveHappened = error instanceof TimeoutError || error instanceof ConnectionBroken;
    if (mayHaveHappened && operation.retry === "with-key") {
      throw new ProblemError("outcome-unknown", { detail: `${operation.name}: no answer in time` }, { cause: error });
    }
    throw unavailable(operation, "no answer in time", error);
  }
}

function parseReply<Out extends z.ZodType>(operation: Operation<z.ZodType, Out>, message: Msg) {
  let decoded: { value: unknown; bytes: Uint8Array };
  try {
    const failed = message.headers?.get("Nats-Service-Error-Code");
    decoded = decodeBody(message.data, operation.bytes === "reply" && !failed);
    if (failed) throw ProblemError.from(Problem.parse(decoded.value));
    return { reply: operation.reply.parse(decoded.value) as z.infer<Out>, bytes: decoded.bytes };
  } catch (error) {
    if (error instanceof ProblemError) throw error;
    throw unavailable(operation, "its answer is not valid", error);
  }
}

function unavailable(operation: Operation, why: string, cause?: unknown): ProblemError {
  const service = operation.name.split(".")[0];
  return new ProblemError("unavailable", { detail: `${service}: ${why}`, retry_after_ms: retryAfterMs }, { cause });
}
