// Traces: what of a request happened where and when, told to a collector. A span is made where a request comes in and where it is
// passed on; between processes it travels as W3C `traceparent`, in the envelope of every request and in the record of a job.
//
// Off unless a collector is configured, and then nothing of it is loaded: a tracer is absent, and everywhere `tracer?.start()`
// is all that is left. Nothing waits for a collector, and no span keeps what it is about from happening.
import type { Attributes } from "./metrics.ts";

export type SpanKind = "internal" | "server" | "client";

export interface Span {
  /** For whoever goes on with it. */
  readonly traceparent: string;
  set(attributes: Attributes): void;
  /** Ends it, as an error where a reason is given; a second end does nothing. */
  end(failure?: string): void;
}

export interface Tracer {
  /**
   * Begins a span below `parent`, or a trace where there is none. Null where the parent's trace is not recorded: what goes on
   * passes the parent along.
   */
  start(name: string, kind: SpanKind, parent: string | undefined, attributes?: Attributes): Span | null;
}

export interface Tracing extends AsyncDisposable {
  /** The tracer of one service of this process. */
  tracer(service: string): Tracer;
  /** How many spans the collector has taken, and how many were given up. */
  readonly exported: number;
  readonly dropped: number;
}
