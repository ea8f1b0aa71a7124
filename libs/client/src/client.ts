// The client. `call` reaches any operation that has a route; the named methods are the same with friendlier arguments.
import {
  type Agent,
  type Artifact,
  addAgent,
  addEntry,
  type CloudEvent,
  checkPolicy,
  createToken,
  deleteArtifact,
  type EventInput,
  emitEvent,
  forgetEntry,
  formatQuery,
  getAgent,
  getArtifact,
  getEntry,
  getJob,
  getToken,
  Health,
  type Job,
  type JobList,
  type JobSpecInput,
  killJob,
  type LogFrame,
  listAgents,
  listArtifacts,
  listAudit,
  listEntries,
  listJobs,
  listPolicies,
  listTokens,
  Metrics,
  type Operation,
  type Reply,
  registerArtifact,
  removeAgent,
  revokeToken,
  searchMemory,
  stopJob,
  submitJob,
  type Token,
  Version,
  verifyAudit,
  WhoAmI,
} from "@aether/contracts";
import type { z } from "zod";
import { type Content, type PutOptions, putContent, readContent } from "./artifacts.ts";
import { requestJson, requestText } from "./call.ts";
import { type EventOptions, readEventBatches } from "./events.ts";
import { type LogOptions, readLogBatches, readLogFrames } from "./logs.ts";
import type { Transport } from "./transport.ts";

export interface CallOptions {
  /** Makes a retry of something that makes or changes safe: the same key gives the first answer again. */
  idempotencyKey?: string;
  intentId?: string;
  traceparent?: string;
  signal?: AbortSignal;
}

type Input<O> = O extends Operation<infer In, z.ZodType> ? z.input<In> : never;

export interface Client {
  /** Calls an operation by its contract. `query` holds what the route takes beside the request, such as `wait`. */
  call<In extends z.ZodType, Out extends z.ZodType>(
    operation: Operation<In, Out>,
    input: z.input<In>,
    options?: CallOptions & { query?: Record<string, unknown> },
  ): Promise<z.infer<Out>>;
  readonly jobs: {
    /** With `wait` it answers when the job has ended, or when that time is up. */
    submit(spec: JobSpecInput, options?: CallOptions & { wait?: string }): Promise<Job>;
    get(id: string, options?: CallOptions & { wait?: string }): Promise<Job>;
    list(filters?: Input<typeof listJobs>, options?: CallOptions): Promise<JobList>;
    /** Frames in order, each once; a follow goes on by itself where a broken connection left it. */
    logs(id: string, options?: LogOptions): AsyncGenerator<LogFrame, void, void>;
    /** The same, with frames that came together given together. */
    logBatches(id: string, options?: LogOptions): AsyncGenerator<LogFrame[], void, void>;
    stop(id: string, options?: CallOptions & { grace?: string }): Promise<Job>;
    kill(id: string, options?: CallOptions): Promise<Job>;
  };
  readonly artifacts: {
    /** Stores bytes as they come. */
    put(bytes: AsyncIterable<Uint8Array>, options: PutOptions & CallOptions): Promise<Artifact>;
    /** Stores a file of the server's host. */
    register(file: Input<typeof registerArtifact>, options?: CallOptions): Promise<Artifact>;
    /** With `path: false` no file on the server's host is named. */
    get(id: string, options?: CallOptions & { path?: boolean }): Promise<Artifact>;
    /** Its bytes, or those from an offset on; leaving them before their end gives the connection up. */
    content(id: string, options?: CallOptions & { from?: number }): Promise<Content>;
    list(filters?: Input<typeof listArtifacts>, options?: CallOptions): Promise<Reply<typeof listArtifacts>>;
    delete(id: string, options?: CallOptions): Promise<Artifact>;
  };
  readonly policy: {
    list(page?: Input<typeof listPolicies>, options?: CallOptions): Promise<Reply<typeof listPolicies>>;
    check(question: Input<typeof checkPolicy>, options?: CallOptions): Promise<Reply<typeof checkPolicy>>;
  };
  readonly tokens: {
    /** The answer holds the token; it is not given again. */
    create(wanted: Input<typeof createToken>, options?: CallOptions): Promise<Reply<typeof createToken>>;
    get(id: string, options?: CallOptions): Promise<Token>;
    list(page?: Input<typeof listTokens>, options?: CallOptions): Promise<Reply<typeof listTokens>>;
    /** With everything that was made with it. */
    revoke(id: string, options?: CallOptions): Promise<Token>;
  };
  readonly audit: {
    list(filters?: Input<typeof listAudit>, options?: CallOptions): Promise<Reply<typeof listAudit>>;
    verify(options?: CallOptions): Promise<Reply<typeof verifyAudit>>;
  };
  readonly memory: {
    add(entry: Input<typeof addEntry>, options?: CallOptions): Promise<Reply<typeof addEntry>>;
    /** With `lines` only these, with `context` so many more on either side. */
    get(id: string, options?: CallOptions & { lines?: string; context?: number }): Promise<Reply<typeof getEntry>>;
    list(filters?: Input<typeof listEntries>, options?: CallOptions): Promise<Reply<typeof listEntries>>;
    search(query: Input<typeof searchMemory>, options?: CallOptions): Promise<Reply<typeof searchMemory>>;
    forget(id: string, options?: CallOptions): Promise<Reply<typeof forgetEntry>>;
  };
  readonly events: {
    /** Stores an event; the same again answers the first one. */
    emit(event: EventInput, options?: CallOptions): Promise<CloudEvent>;
    /** Events in order, each once, those that came together given together; a follow goes on by itself where it broke. */
    read(options?: EventOptions): AsyncGenerator<CloudEvent[], void, void>;
  };
  readonly agents: {
    add(agent: Input<typeof addAgent>, options?: CallOptions): Promise<Agent>;
    get(name: string, options?: CallOptions): Promise<Agent>;
    list(filters?: Input<typeof listAgents>, options?: CallOptions): Promise<Reply<typeof listAgents>>;
    remove(name: string, options?: CallOptions): Promise<Agent>;
  };
  whoami(options?: CallOptions): Promise<WhoAmI>;
  /** Also when the system is down, as long as the gateway answers. */
  health(options?: CallOptions): Promise<Health>;
  metrics(options?: CallOptions): Promise<Metrics>;
  /** The same as scrapers read it. */
  metricsText(format: "prometheus" | "openmetrics", options?: CallOptions): Promise<string>;
  version(options?: CallOptions): Promise<Version>;
}

/** Makes a client that speaks through the transport. */
export function createClient(transport: Transport): Client {
  const call: Client["call"] = (operation, input, options = {}) => {
    const { method, path, body } = toHttp(operation, input, options.query);
    return requestJson(transport, { method, path, ...rest(options, body) }, operation.reply);
  };
  const get = <T extends z.ZodType>(path: string, reply: T, options: CallOptions, accept?: number[]) =>
    requestJson(transport, { method: "GET", path: `/v0${path}`, ...rest(options) }, reply, accept);
  return {
    call,
    jobs: {
      submit: (spec, { wait, ...options } = {}) => call(submitJob, spec, { ...options, query: { wait } }),
      get: (id, { wait, ...options } = {}) => call(getJob, { id, ...(wait !== undefined && { wait }) }, options),
      list: (filters = {}, options) => call(listJobs, filters, options),
      logs: (id, options = {}) => readLogFrames(transport, id, options),
      logBatches: (id, options = {}) => readLogBatches(transport, id, options),
      stop: (id, { grace, ...options } = {}) => call(stopJob, { id, ...(grace !== undefined && { grace }) }, options),
      kill: (id, options) => call(killJob, { id }, options),
    },
    artifacts: {
      put: (bytes, options) => putContent(transport, bytes, { ...options, headers: rest(options).headers }),
      register: (file, options) => call(registerArtifact, file, options),
      get: (id, { path, ...options } = {}) => call(getArtifact, { id, ...(path !== undefined && { path }) }, options),
      content: (id, { from, ...options } = {}) => readContent(transport, id, { from, ...rest(options) }),
      list: (filters = {}, options) => call(listArtifacts, filters, options),
      delete: (id, options) => call(deleteArtifact, { id }, options),
    },
    policy: {
      list: (page = {}, options) => call(listPolicies, page, options),
      check: (question, options) => call(checkPolicy, question, options),
    },
    tokens: {
      create: (wanted, options) => call(createToken, wanted, options),
      get: (id, options) => call(getToken, { id }, options),
      list: (page = {}, options) => call(listTokens, page, options),
      revoke: (id, options) => call(revokeToken, { id }, options),
    },
    audit: {
      list: (filters = {}, options) => call(listAudit, filters, options),
      verify: (options) => call(verifyAudit, {}, options),
    },
    memory: {
      add: (entry, options) => call(addEntry, entry, options),
      get: (id, { lines, context, ...options } = {}) =>
        call(
          getEntry,
          { id, ...(lines !== undefined && { lines }), ...(context !== undefined && { context }) },
          options,
        ),
      list: (filters = {}, options) => call(listEntries, filters, options),
      search: (query, options) => call(searchMemory, query, options),
      forget: (id, options) => call(forgetEntry, { id }, options),
    },
    events: {
      emit: (event, options) => call(emitEvent, event as Input<typeof emitEvent>, options),
      read: (options = {}) => readEventBatches(transport, options),
    },
    agents: {
      add: (agent, options) => call(addAgent, agent, options),
      get: (name, options) => call(getAgent, { name }, options),
      list: (filters = {}, options) => call(listAgents, filters, options),
      remove: (name, options) => call(removeAgent, { name }, options),
    },
    whoami: (options = {}) => get("/whoami", WhoAmI, options),
    health: (options = {}) => get("/health", Health, options, [503]),
    metrics: (options = {}) => get("/metrics", Metrics, options),
    metricsText: (format, options = {}) =>
      requestText(transport, {
        ...{ method: "GET", path: "/v0/metrics" },
        ...rest(options, undefined, format === "prometheus" ? "text/plain" : "application/openmetrics-text"),
      }),
    version: (options = {}) => get("/version", Version, options),
  };
}

/** The request as HTTP: names in the path are taken from the input; the rest of it is the query of a GET, or the body. */
function toHttp(operation: Operation, input: unknown, query: Record<string, unknown> = {}) {
  const { http } = operation;
  if (!http) throw new TypeError(`${operation.name} has no HTTP route`);
  const left: Record<string, unknown> = { ...Object(input) };
  const path = http.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = encodeURIComponent(String(left[name]));
    delete left[name];
    return value;
  });
  const isGet = http.method === "GET";
  return {
    method: http.method,
    path: `/v0${path}${formatQuery(isGet ? { ...left, ...query } : query)}`,
    body: isGet ? undefined : JSON.stringify(left),
  };
}

function rest(options: CallOptions, body?: string, accept = "application/json, application/problem+json") {
  const headers: Record<string, string> = { Accept: accept };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (options.idempotencyKey !== undefined) headers["Idempotency-Key"] = options.idempotencyKey;
  if (options.intentId !== undefined) headers["Aether-Intent-Id"] = options.intentId;
  if (options.traceparent !== undefined) headers.traceparent = options.traceparent;
  return { headers, ...(body !== undefined && { body }), ...(options.signal && { signal: options.signal }) };
}
