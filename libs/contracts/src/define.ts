// An operation is one value. From it come the bus subject and its permissions, `serve()`, the HTTP route, the typed client,
// OpenAPI, the subject list and the CLI's help. An operation that does not say who may call it, by which policy action,
// about what resource, owned by whom and how it is recorded, does not type-check.
import type { z } from "zod";
import type { Action, ResourceType } from "./actions.ts";
import type { ProblemSlug } from "./problem.ts";

/** NATS users that may call an operation. "worker" stands for every `worker-<host>`. */
export type Caller = "gateway" | "worker" | "jobs" | "artifacts" | "policy" | "memory" | "events";

/** Asked of policy by `serve()` before the handler runs. */
export interface Decided {
  readonly action: Action;
  readonly resource: ResourceType;
  /** Who owns the resource: its stored record says, or it is the caller's own by being made or being a collection. */
  readonly owner: "record" | "caller";
  /** `before`: stored and synced before the answer leaves. `summary`: counted, written every second (status reads only). */
  readonly record: "before" | "summary";
}

/** Not asked of policy, with the reason why that is safe. */
export interface Exempt {
  readonly exempt: "health" | "metrics" | "decide" | "fenced";
  readonly reason: string;
}

export interface HttpRoute {
  readonly method: "GET" | "POST" | "DELETE" | "PUT";
  /** Path below `/v0`; `{name}` fills the request field of that name. */
  readonly path: string;
  readonly status: 200 | 201 | 202;
  /** Query of the HTTP route where it differs from the bus request (streams, `wait`). */
  readonly query?: z.ZodObject;
  /** What its body may take where that is less than any body may. */
  readonly maxBytes?: number;
  /** What the HTTP route answers where that is not the bus's reply. */
  readonly reply?: z.ZodType;
}

export type Access = Decided | Exempt;

export interface Operation<
  In extends z.ZodType = z.ZodType,
  Out extends z.ZodType = z.ZodType,
  A extends Access = Access,
> {
  /** `<service>.<operation>`: the last two tokens of the subject. */
  readonly name: `${string}.${string}`;
  /**
   * `unary`: one request, one reply. `pages`: replies are pages of a longer answer that the gateway loops over. `upload`,
   * `download`: begins a transfer whose chunks the gateway sends on from the body, or asks for and sends on.
   */
  readonly kind: "unary" | "pages" | "upload" | "download";
  readonly summary: string;
  readonly http?: HttpRoute;
  readonly request: In;
  readonly reply: Out;
  /** Which side carries bytes behind its JSON, framed as one JSON line, a newline, the bytes. */
  readonly bytes?: "request" | "reply";
  readonly problems: readonly ProblemSlug[];
  readonly access: A;
  readonly callers: readonly Caller[];
  /** Whether sending it again after an unknown outcome is safe by itself, or only with an Idempotency-Key. */
  readonly retry: "safe" | "with-key";
  /** The id of what it makes: chosen before the act, so that a retry with the same Idempotency-Key makes the same one. */
  readonly creates?: "job" | "art" | "mem" | "tok";
  /**
   * `again`: the answer may hold what is to be forgotten, so none is kept; a retry does the act again under the same id.
   * `never`: the answer is a secret, so none is kept; the same key once more is a conflict.
   */
  readonly replay?: "again" | "never";
  /** How long a caller waits for the reply, milliseconds; the request deadline where absent. */
  readonly timeoutMs?: number;
}

/** Declares an operation; the identity function, for its types. */
export function defineOperation<In extends z.ZodType, Out extends z.ZodType, const A extends Access>(
  operation: Operation<In, Out, A>,
): Operation<In, Out, A> {
  return operation;
}

export type Request<O> = O extends Operation<infer In, z.ZodType, Access> ? z.infer<In> : never;
export type Reply<O> = O extends Operation<z.ZodType, infer Out, Access> ? z.infer<Out> : never;

/** The subject a caller publishes an operation under; `*` for the service's side. */
export function subjectOf(operation: Operation, caller: string): string {
  return `aether.v0.${caller}.${operation.name}`;
}
