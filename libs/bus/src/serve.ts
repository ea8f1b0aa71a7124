// The serving side of every operation, and the one way through: the caller is pinned by the subject, the request is held
// against the contract, the resource and its owner are loaded from the truth, policy decides and records, and only then does
// the handler run. A handler cannot be reached in any other way.
//
// - Only an envelope on a `gateway` subject may name a principal; every other caller is itself.
// - A reply subject outside `_INBOX.` and `_R_.` is refused: a chosen reply would make this service write where its own
//   rights reach and the caller's do not (a KV key, a stream).
// - What needs a person's yes is 403 with the approval that was asked for; the same request again is allowed after it, once.
// - No answer from policy, a late or a malformed one: 503, and nothing has happened.
// - Every request is counted and timed, by operation and outcome, and the service answers its numbers itself.
// - Disposing stops new requests, lets the running ones answer, flushes, and only then lets the connection close.
import {
  type AskRequest,
  createId,
  type Decided,
  type DecideReply,
  type DecisionContext,
  decide as decideOperation,
  Envelope,
  invalidRequest,
  limits,
  metricsOperation,
  type Operation,
  type Preview,
  type Principal,
  type Problem,
  ProblemError,
  type ProblemSlug,
  principalName,
  type Reply,
  type Request,
  RequestId,
  type Resource,
} from "@aether/contracts";
import { durationBounds, type Histogram, type Logger, type Registry } from "@aether/telemetry";
import { headers, type Msg } from "@nats-io/transport-node";
import { z } from "zod";
import { digestOf, operationPreview } from "./act.ts";
import type { Bus } from "./connection.ts";
import { answerDiscovery, type EndpointStats } from "./discovery.ts";
import { type Bytes, decodeBody, encodeBody } from "./frame.ts";
import { type Idempotency, openIdempotency } from "./idempotency.ts";
import { isInterruption } from "./interruption.ts";
import { envelopeHeader, request as requestOverBus } from "./request.ts";

/** What a handler knows of the call beside the request itself. */
export interface Call<L = unknown> {
  principal: Principal;
  /** The NATS user that sent it: `gateway`, `worker-host-a`, `jobs`. */
  caller: string;
  requestId: string;
  intentId: string | null;
  traceparent: string | undefined;
  /** The capability token that the caller came with; whoever asks policy on his behalf passes it on. */
  token: string | undefined;
  /** Bytes behind the request, for operations that carry them. */
  bytes: Uint8Array;
  /** The id of what the operation makes, where it makes something; the same again for a retry with its Idempotency-Key. */
  createdId: string | null;
  /** What `load` found. */
  loaded: L;
  /** Policy's answer; null for exempt operations. */
  decision: DecideReply | null;
  /** Aborted when the service is being disposed: long waits answer what they have. */
  closing: AbortSignal;
  log: Logger;
}

/** A resource as loaded from the truth, for policy to judge and for the handler to use. */
export interface Loaded<L> {
  resource: Pick<Resource, "id" | "owner" | "labels" | "person">;
  value: L;
}

type HandlerResult<O> = Reply<O> | { reply: Reply<O>; bytes: Bytes };

interface HandlerBase<O, L> {
  handle(request: Request<O>, call: Call<L>): Promise<HandlerResult<O>>;
  /** Facts about the act that policies may look at. */
  context?(request: Request<O>): DecisionContext;
  jobId?(request: Request<O>, call: Pick<Call, "createdId">): string | null;
  /** Digest of exactly what is decided, instead of the request's. Null: the request holds a secret, and nobody is asked about it. */
  digest?(request: Request<O>): string | null;
  /** What a person is shown of it, instead of all its fields. */
  preview?(request: Request<O>): Preview;
  intentId?(request: Request<O>): string | null;
}

/** An operation on a stored resource must say how it is loaded; a missing one answers 404. */
export type Handler<O, L = unknown> = O extends { access: { owner: "record" } }
  ? HandlerBase<O, L> & { load(request: Request<O>): Promise<Loaded<L> | null> }
  : HandlerBase<O, L>;

// biome-ignore lint/suspicious/noExplicitAny: a registry of handlers whose types were checked one by one by `handler()`
export type AnyHandler = HandlerBase<any, any> & { load?(request: any): Promise<Loaded<any> | null> };

/** Binds a handler to its operation; the identity function, for its types. */
export function handler<O extends Operation, L = unknown>(
  operation: O,
  implementation: Handler<O, L>,
): [O, AnyHandler] {
  return [operation, implementation as AnyHandler];
}

export type Decide = (
  request: Request<typeof decideOperation>,
  traceparent: string | undefined,
) => Promise<DecideReply>;

export interface ServeOptions {
  service: string;
  version: string;
  description: string;
  handlers: readonly [Operation, AnyHandler][];
  /** Policy itself passes its own; everybody else asks over the bus. */
  decide?: Decide;
  /** Whether this service has idempotent operations, and so uses KV `idempotency`. */
  idempotency?: boolean;
  /** The service's numbers; with them it answers `<service>.metrics`. */
  metrics?: Registry;
}

interface Served {
  bus: Bus;
  decide: Decide;
  idempotency: Idempotency | null;
  closing: AbortSignal;
  durations: Histogram | undefined;
}

/** Serves every operation of a service until disposed; resolves when requests reach it. */
export async function serve(bus: Bus, options: ServeOptions): Promise<AsyncDisposable> {
  const closing = new AbortController();
  const served: Served = {
    bus,
    decide: options.decide ?? ((input, traceparent) => askPolicy(bus, input, traceparent)),
    idempotency: options.idempotency ? openIdempotency(bus) : null,
    closing: closing.signal,
    durations: options.metrics?.histogram(
      "aether.operation.duration",
      "s",
      "Time from a request's coming to its answer",
      durationBounds,
    ),
  };
  const handlers = [...options.handlers, ...(options.metrics ? [answerMetrics(options, options.metrics)] : [])];
  if (options.metrics) countTraces(options.metrics, bus);
  const running = new Set<Promise<void>>();
  const stats: EndpointStats[] = [];
  const subscriptions = handlers.map(([operation, implementation]) => {
    const subject = `aether.v0.*.${operation.name}`;
    const endpoint = newStats(operation.name, subject, options.service);
    stats.push(endpoint);
    return bus.nats.subscribe(subject, {
      queue: options.service,
      callback: (error, message) => {
        if (error) return bus.log.error({ err: error, operation: operation.name }, "subscription failed");
        const answered: Promise<void> = answer(served, operation, implementation, message, endpoint).finally(() =>
          running.delete(answered),
        );
        running.add(answered);
      },
    });
  });
  const discovery = answerDiscovery(
    bus,
    { name: `aether-${options.service}`, version: options.version, description: options.description },
    stats,
  );
  await bus.nats.flush();
  return {
    async [Symbol.asyncDispose]() {
      if (bus.nats.isClosed()) return;
      await Promise.all(
        [...subscriptions, ...discovery].map((subscription) =>
          subscription.drain().catch(() => subscription.unsubscribe()),
        ),
      );
      closing.abort();
      while (running.size > 0) await Promise.all(running);
      if (bus.connected) await bus.nats.flush();
    },
  };
}

/** Lets a registry tell what became of the spans of a connection. */
export function countTraces(registry: Registry, { tracing }: Pick<Bus, "tracing">): void {
  if (!tracing) return;
  registry.total("aether.traces.exported", "{span}", "Spans that the collector took", () => tracing.exported);
  registry.total("aether.traces.dropped", "{span}", "Spans that were given up", () => tracing.dropped);
}

function answerMetrics({ service, version }: ServeOptions, registry: Registry) {
  const resource = {
    "service.name": `aether-${service}`,
    "service.version": version,
    "service.instance.id": createId("req").slice(4),
  };
  return handler(metricsOperation(service), {
    handle: async () => ({ resource, start_time: registry.startTime, metrics: await registry.collect() }),
  });
}

async function answer(
  served: Served,
  operation: Operation,
  implementation: AnyHandler,
  message: Msg,
  stats: EndpointStats,
): Promise<void> {
  const { log } = served.bus;
  if (!message.reply || !/^(_INBOX|_R_)\./.test(message.reply)) {
    log.error(
      { operation: operation.name, subject: message.subject, reply: message.reply },
      "refused a request with a foreign reply subject",
    );
    return;
  }
  const startedAt = process.hrtime.bigint();
  let outcome = "ok";
  try {
    const { reply, bytes } = await run(served, operation, implementation, message);
    message.respond(encodeBody(reply, operation.bytes === "reply" ? bytes : undefined));
  } catch (error) {
    const failed = toProblem(error, message, log, operation);
    stats.num_errors++;
    outcome = failed.problem.status < 500 ? "refused" : "failed";
    stats.last_error = `${failed.problem.status} ${failed.problem.title}`;
    const head = headers();
    head.set("Nats-Service-Error-Code", String(failed.problem.status));
    head.set("Nats-Service-Error", failed.problem.title);
    message.respond(encodeBody(failed.problem), { headers: head });
  }
  stats.num_requests++;
  const tookNs = Number(process.hrtime.bigint() - startedAt);
  served.durations?.record(tookNs / 1e9, { "aether.operation": operation.name, "aether.outcome": outcome });
  stats.processing_time += tookNs;
  stats.average_processing_time = Math.round(stats.processing_time / stats.num_requests);
}

async function run(served: Served, operation: Operation, implementation: AnyHandler, message: Msg) {
  const sender = identify(message);
  const { traceparent, request_id } = sender.envelope;
  const span =
    traceparent === undefined
      ? null
      : served.bus.tracer?.start(operation.name, "server", traceparent, { "aether.request_id": request_id });
  if (!span) return act(served, operation, implementation, message, sender);
  const traced = { ...sender, envelope: { ...sender.envelope, traceparent: span.traceparent } };
  try {
    const result = await act(served, operation, implementation, message, traced);
    span.end();
    return result;
  } catch (error) {
    span.end(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

async function act(
  served: Served,
  operation: Operation,
  implementation: AnyHandler,
  message: Msg,
  { envelope, caller, principal }: ReturnType<typeof identify>,
) {
  const { value, bytes } = parseBody(message, operation);
  const request = value as never;
  const claimed =
    envelope.idempotency_key && served.idempotency && operation.retry === "with-key"
      ? await served.idempotency.claim(
          principalName(principal),
          operation.name,
          envelope.idempotency_key,
          message.data,
          operation.creates,
        )
      : null;
  const createdId = claimed?.createdId ?? (operation.creates ? createId(operation.creates) : null);
  const intentId = implementation.intentId?.(request) ?? envelope.intent_id ?? null;
  const loaded = (await implementation.load?.(request)) ?? null;
  const asked: Asked = { request, envelope, principal, createdId, intentId, loaded };
  const decision = await authorise(served, operation, implementation, asked).catch(async (error: unknown) => {
    await claimed?.release();
    throw error;
  });
  if (claimed?.answer != null) return { reply: claimed.answer, bytes: undefined };
  if (claimed && operation.replay === "never" && !claimed.isNew) {
    throw new ProblemError("idempotency-conflict", { detail: "its answer is a secret, which is not given again" });
  }
  const call: Call = {
    principal,
    caller,
    requestId: envelope.request_id,
    intentId,
    traceparent: envelope.traceparent,
    token: envelope.token,
    bytes,
    createdId,
    loaded: loaded?.value,
    decision,
    closing: served.closing,
    // Made when it is asked for: a child logger costs more than most handlers, and most never log.
    get log() {
      return served.bus.log.child({ request_id: envelope.request_id, operation: operation.name });
    },
  };
  const result: unknown = await implementation.handle(request, call).catch(async (error: unknown) => {
    if (operation.replay === "never") await claimed?.release(); // nobody has the answer that is not given twice
    throw error;
  });
  if (operation.bytes === "reply") return result as { reply: unknown; bytes: Bytes };
  if (operation.replay === undefined) await claimed?.keep(result);
  return { reply: result, bytes: undefined };
}

/** Who calls, from the subject alone; the envelope's principal counts only where the gateway sent it. */
function identify(message: Msg): { envelope: Envelope; caller: string; principal: Principal } {
  const caller = message.subject.split(".")[2] ?? "";
  const parsed = Envelope.safeParse(parseJson(message.headers?.get(envelopeHeader) ?? ""));
  if (!parsed.success)
    throw new ProblemError("invalid-request", {
      detail: `the envelope is not valid: ${z.prettifyError(parsed.error)}`,
    });
  const envelope = parsed.data;
  if (caller === "gateway") {
    if (!envelope.principal) throw new ProblemError("invalid-request", { detail: "the envelope names no principal" });
    return { envelope, caller, principal: envelope.principal };
  }
  const worker = /^worker-(.+)$/.exec(caller);
  const principal: Principal = worker?.[1]
    ? { type: "Worker", id: worker[1], roles: [] }
    : { type: "Service", id: caller, roles: [] };
  return { envelope, caller, principal };
}

function parseBody(message: Msg, operation: Operation): { value: unknown; bytes: Uint8Array } {
  let decoded: { value: unknown; bytes: Uint8Array };
  try {
    decoded = decodeBody(message.data, operation.bytes === "request");
  } catch (error) {
    throw new ProblemError("invalid-request", { detail: "the body is not JSON" }, { cause: error });
  }
  const parsed = operation.request.safeParse(decoded.value);
  if (!parsed.success) throw invalidRequest(parsed.error);
  return { value: parsed.data, bytes: decoded.bytes };
}

interface Asked {
  request: never;
  envelope: Envelope;
  principal: Principal;
  createdId: string | null;
  intentId: string | null;
  loaded: Loaded<unknown> | null;
}

async function authorise(
  served: Served,
  operation: Operation,
  implementation: AnyHandler,
  asked: Asked,
): Promise<DecideReply | null> {
  const access = operation.access;
  if ("exempt" in access) return null;
  if (access.owner === "record" && !asked.loaded) throw new ProblemError("not-found");
  const { envelope, request } = asked;
  const digest =
    access.record === "summary"
      ? (implementation.digest?.(request) ?? null)
      : implementation.digest
        ? implementation.digest(request)
        : digestOf(operation, request);
  const decision = await served.decide(
    {
      principal: asked.principal,
      action: access.action,
      resource: resourceOf(access, asked),
      context: implementation.context?.(request) ?? {},
      record: access.record,
      request_id: envelope.request_id,
      intent_id: asked.intentId,
      job_id: implementation.jobId?.(request, asked) ?? null,
      digest,
      ...(envelope.token !== undefined && { token: envelope.token }),
      ...(access.record === "before" && digest !== null && { ask: askOf(operation, implementation, asked) }),
    },
    envelope.traceparent,
  );
  if (decision.outcome === "allow") return decision;
  if (!decision.visible) throw new ProblemError("not-found");
  const { decision_id: id, outcome, reason, policies, approval_id } = decision;
  throw new ProblemError("policy-denied", {
    detail: reason,
    decision: { id, outcome, reason, policies },
    ...(outcome === "ask" && approval_id !== null && { approval_id }),
  });
}

/** The same key is the same use of a yes, so a retry needs no other one. */
function askOf(operation: Operation, implementation: AnyHandler, { request, envelope }: Asked): AskRequest {
  const subject = envelope.idempotency_key ?? envelope.request_id;
  const preview = implementation.preview?.(request) ?? operationPreview(operation, request);
  return { mode: "consume", subject, preview };
}

function resourceOf(access: Decided, asked: Asked): Resource {
  if (asked.loaded) return { type: access.resource, ...asked.loaded.resource };
  return { type: access.resource, id: asked.createdId ?? "*", owner: principalName(asked.principal), labels: {} };
}

/** Policy's own refusals, which the caller can act on. */
const passedOn: ReadonlySet<ProblemSlug> = new Set(["audit-unavailable", "token-refused", "too-many-requests"]);

async function askPolicy(
  bus: Bus,
  input: Request<typeof decideOperation>,
  traceparent: string | undefined,
): Promise<DecideReply> {
  const { reply } = await requestOverBus(bus, decideOperation, input, {
    envelope: { request_id: input.request_id, ...(traceparent !== undefined && { traceparent }) },
    timeoutMs: limits.decideDeadlineMs,
  }).catch((error: unknown) => {
    if (error instanceof ProblemError && passedOn.has(error.slug)) throw error;
    throw new ProblemError(
      "unavailable",
      { detail: "policy does not answer, so nothing was done", retry_after_ms: 1000 },
      { cause: error },
    );
  });
  return reply;
}

function toProblem(error: unknown, message: Msg, log: Logger, operation: Operation): { problem: Problem } {
  const requestId = RequestId.safeParse(
    (parseJson(message.headers?.get(envelopeHeader) ?? "") as { request_id?: unknown } | null)?.request_id,
  );
  const instance = requestId.success ? `urn:aether:request:${requestId.data}` : undefined;
  const known = error instanceof ProblemError ? error : unexpected(error, operation);
  if (known.problem.status >= 500)
    log.error({ err: error, operation: operation.name, request_id: requestId.data }, "request failed");
  return { problem: { ...known.problem, ...(instance ? { instance } : {}) } };
}

/** A store that does not answer is a passing state of the system; anything else that nobody expected is a bug. */
function unexpected(error: unknown, operation: Operation): ProblemError {
  if (!isInterruption(error)) return new ProblemError("internal-error", {}, { cause: error });
  const slug = operation.retry === "with-key" ? "outcome-unknown" : "unavailable";
  return new ProblemError(slug, { detail: "the store did not answer in time", retry_after_ms: 1000 }, { cause: error });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // what is not JSON fails the schema that it is held against next
  }
}

function newStats(name: string, subject: string, queue: string): EndpointStats {
  return {
    name: name.replace(".", "-"),
    subject,
    queue_group: queue,
    num_requests: 0,
    num_errors: 0,
    last_error: "",
    processing_time: 0,
    average_processing_time: 0,
  };
}
