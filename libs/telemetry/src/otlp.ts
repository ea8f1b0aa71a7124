// Spans to a collector as OTLP/HTTP in JSON (https://opentelemetry.io/docs/specs/otlp): in batches, from a bounded queue, one
// request at a time. While the collector is away the newest spans are kept and the rest is dropped and counted; it is asked
// again ever more slowly. An answer that refuses a batch for good drops that batch.
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Attributes } from "./metrics.ts";
import type { Span, SpanKind, Tracer, Tracing } from "./tracing.ts";

const queueMax = 4_096;
const batchMax = 512;
const everyMs = 1_000;
const backoffMaxMs = 30_000;
const answerMs = 5_000;
const lastFlushMs = 2_000;
const kinds: Record<SpanKind, number> = { internal: 1, server: 2, client: 3 };
const passing: readonly number[] = [429, 502, 503, 504];

interface Finished {
  service: string;
  json: object;
}

/** Starts sending to `<endpoint>/v1/traces`; throws where that is no http URL. */
export function startExporter(endpoint: string): Tracing {
  const url = new URL(`${endpoint.replace(/\/+$/, "")}/v1/traces`);
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new Error(`not an http URL: ${endpoint}`);
  const post = createPost(url);
  const queue: Finished[] = [];
  const state = { exported: 0, dropped: 0, waitMs: everyMs, sending: null as Promise<void> | null, ended: false };
  let timer: NodeJS.Timeout | null = null;

  function add(span: Finished): void {
    queue.push(span);
    while (queue.length > queueMax) {
      queue.shift();
      state.dropped++;
    }
    if (queue.length >= batchMax && state.waitMs === everyMs) void flush();
    else schedule();
  }

  function schedule(): void {
    if (timer || state.ended) return;
    timer = setTimeout(() => {
      timer = null;
      void flush();
    }, state.waitMs).unref();
  }

  function flush(): Promise<void> {
    state.sending ??= send().finally(() => {
      state.sending = null;
      if (queue.length > 0) schedule();
    });
    return state.sending;
  }

  async function send(): Promise<void> {
    const batch = queue.splice(0, batchMax);
    if (batch.length === 0) return;
    const status = await post(JSON.stringify(toRequest(batch))).catch(() => 503);
    if (status < 300) {
      state.exported += batch.length;
      state.waitMs = everyMs;
    } else if (passing.includes(status)) {
      state.waitMs = Math.min(2 * state.waitMs, backoffMaxMs);
      const kept = batch.slice(Math.max(0, batch.length + queue.length - queueMax));
      queue.unshift(...kept);
      state.dropped += batch.length - kept.length;
    } else state.dropped += batch.length;
  }

  return {
    tracer: (service) => createTracer((json) => add({ service, json })),
    get exported() {
      return state.exported;
    },
    get dropped() {
      return state.dropped;
    },
    async [Symbol.asyncDispose]() {
      state.ended = true;
      if (timer) clearTimeout(timer);
      const giveUpAt = performance.now() + lastFlushMs;
      state.waitMs = everyMs;
      while ((queue.length > 0 || state.sending) && state.waitMs === everyMs && performance.now() < giveUpAt)
        await flush();
    },
  };
}

function createTracer(add: (span: object) => void): Tracer {
  return {
    start(name, kind, parent, attributes = {}) {
      const [, parentTrace, parentSpanId, flags] = parent?.split("-") ?? [];
      if (flags !== undefined && (Number.parseInt(flags, 16) & 1) === 0) return null;
      const traceId = parentTrace ?? randomHex(16);
      const spanId = randomHex(8);
      const startedAt = nowNanos();
      let known = attributes;
      let ended = false;
      const span: Span = {
        traceparent: `00-${traceId}-${spanId}-01`,
        set(more) {
          known = { ...known, ...more };
        },
        end(failure) {
          if (ended) return;
          ended = true;
          add({
            ...{ traceId, spanId, ...(parentSpanId !== undefined && { parentSpanId }), flags: 1 },
            ...{ name, kind: kinds[kind], startTimeUnixNano: startedAt, endTimeUnixNano: nowNanos() },
            attributes: toAttributes(known),
            status: failure === undefined ? {} : { code: 2, message: failure },
          });
        },
      };
      return span;
    },
  };
}

function toRequest(batch: readonly Finished[]): object {
  const byService = Map.groupBy(batch, ({ service }) => service);
  return {
    resourceSpans: [...byService].map(([service, spans]) => ({
      resource: { attributes: toAttributes({ "service.name": `aether-${service}`, "process.pid": process.pid }) },
      scopeSpans: [{ scope: { name: "aether" }, spans: spans.map(({ json }) => json) }],
    })),
  };
}

function toAttributes(attributes: Attributes): object[] {
  return Object.entries(attributes).map(([key, value]) => {
    if (typeof value === "string") return { key, value: { stringValue: value } };
    if (typeof value === "boolean") return { key, value: { boolValue: value } };
    return { key, value: Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value } };
  });
}

/** Answers the status; what the collector says beside it is read away. */
function createPost(url: URL): (body: string) => Promise<number> {
  const isTls = url.protocol === "https:";
  const agent = isTls
    ? new HttpsAgent({ keepAlive: true, maxSockets: 1 })
    : new HttpAgent({ keepAlive: true, maxSockets: 1 });
  const headers = { "Content-Type": "application/json" };
  return (body) =>
    new Promise((resolve, reject) => {
      const options = {
        method: "POST",
        agent,
        timeout: answerMs,
        headers: { ...headers, "Content-Length": Buffer.byteLength(body) },
      };
      const sent = (isTls ? httpsRequest : httpRequest)(url, options, (response) => {
        response.resume();
        response.once("close", () => resolve(response.statusCode ?? 500));
      });
      sent.once("timeout", () => sent.destroy(new Error("the collector does not answer")));
      sent.once("error", reject);
      sent.end(body);
    });
}

const randomBytes = 4_096;
let random = "";

/** Drawn many at a time: each draw is a system call, and costs more than the rest of a span. */
function randomHex(bytes: number): string {
  if (random.length < 2 * bytes)
    random = Buffer.from(crypto.getRandomValues(new Uint8Array(randomBytes))).toString("hex");
  const taken = random.slice(0, 2 * bytes);
  random = random.slice(2 * bytes);
  return taken;
}

function nowNanos(): string {
  return `${Math.round((performance.timeOrigin + performance.now()) * 1000)}000`;
}
