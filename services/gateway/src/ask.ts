// One request over the bus that somebody may stop waiting for. The bus has no way to take a request back, so what is given
// up is only the wait; the operations asked here are reads.
import type { ServerResponse } from "node:http";
import { type Bus, request } from "@aether/bus";
import { type Operation, ProblemError } from "@aether/contracts";
import type { z } from "zod";
import type { CallEnvelope } from "./call.ts";

export interface AskOptions {
  envelope: CallEnvelope;
  timeoutMs: number;
  /** Gives up the wait. */
  signal: AbortSignal;
}

/** Asks and answers the reply; rejects with the signal's reason when it is aborted first. */
export async function ask<In extends z.ZodType, Out extends z.ZodType>(
  bus: Bus,
  operation: Operation<In, Out>,
  input: z.input<In>,
  { signal, ...options }: AskOptions,
): Promise<{ reply: z.infer<Out>; bytes: Uint8Array }> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([request(bus, operation, input, options), aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Aborted when the caller has gone away, or when the gateway ends. */
export function untilGone(response: ServerResponse, closing: AbortSignal): AbortSignal {
  const gone = new AbortController();
  response.once("close", () => gone.abort(new ProblemError("unavailable", { detail: "the caller has gone away" })));
  return AbortSignal.any([gone.signal, closing]);
}

/** What a promise answers within a time, or null after it; the promise goes on. */
export async function within<T extends object>(promise: Promise<T>, timeoutMs: number): Promise<T | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), Math.max(0, timeoutMs));
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
