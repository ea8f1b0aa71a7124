// The gateway: HTTP on a unix socket on one side, the bus on the other. It knows who calls (peer credentials), refuses what
// is not valid before anybody is asked, translates, and streams. It holds no state and takes no decision.
import type { Server } from "node:http";
import { type Bus, countTraces } from "@aether/bus";
import {
  createId,
  createOpenApi,
  exportAudit,
  followAgents,
  limits,
  type Principal,
  ProblemError,
  principalName,
  readEvents,
  readLogs,
  type Version,
} from "@aether/contracts";
import {
  bindUnix,
  createProblemServer,
  type Exchange,
  listenUnix,
  type PeerCredentials,
  peerCredentials,
  writeJson,
  writeText,
} from "@aether/http";
import {
  createRegistry,
  durationBounds,
  type Histogram,
  type Logger,
  type Registry,
  type Span,
} from "@aether/telemetry";
import { type AgentSocketsOptions, startAgentSockets } from "./agent-sockets.ts";
import { ask } from "./ask.ts";
import { answerExport } from "./audit-route.ts";
import { invalidField, refuseBody, toEnvelope } from "./call.ts";
import { answerDownload } from "./download-route.ts";
import { answerEvents } from "./events-route.ts";
import { formatMetrics, textTypes } from "./exposition.ts";
import { readHealth } from "./health.ts";
import { answerLogs } from "./log-route.ts";
import { readMetrics, scrapeMetrics } from "./metrics.ts";
import { chooseFormat } from "./negotiate.ts";
import { answerOperation } from "./operation-route.ts";
import { type Roles, toAgentPrincipal, toPrincipal } from "./principal.ts";
import { type Rates, startRates } from "./rates.ts";
import { matchRoute, type Route } from "./routes.ts";
import { type Address, openScrapePort } from "./scrape-port.ts";
import { answerUpload } from "./upload-route.ts";
import { version } from "./version.ts";
import { toWhoAmI } from "./whoami.ts";

export interface GatewayOptions extends Roles {
  socketPath: string;
  /** Gets the socket; the process's own group where absent. */
  socketGid?: number;
  /** Connected as the user `gateway`; stays the caller's to close. */
  bus: Bus;
  log: Logger;
  /** Where scrapers may read the metrics; nowhere where absent. */
  scrapeAddress?: Address;
}

export { toRoles } from "./principal.ts";
export { parseLoopback } from "./scrape-port.ts";

/** What tests change. */
export interface GatewayOverrides {
  heartbeatMs?: number;
  retryForMs?: number;
  drainMs?: number;
}

export interface Gateway extends AsyncDisposable {
  readonly socketPath: string;
  /** Of the port for scrapers, where there is one. */
  readonly scrapePort: number | null;
  /** From now on makes the sockets of agents, in this folder. Called once, and not before root is given up. */
  serveAgents(agentsDir: string): void;
}

const retryForMs = 60_000;
const drainMs = 10_000;

interface Context {
  options: GatewayOptions;
  closing: AbortSignal;
  heartbeatMs: number;
  retryForMs: number;
  /** Made when it is first asked for: it takes longer than everything else at the start. */
  openApi: () => unknown;
  metrics: Registry;
  durations: Histogram;
  rates: Rates;
}

/** Serves the HTTP API until disposed. */
export async function startGateway(options: GatewayOptions, overrides: GatewayOverrides = {}): Promise<Gateway> {
  const { socketPath, socketGid, log } = options;
  const closing = new AbortController();
  const metrics = createRegistry();
  countTraces(metrics, options.bus);
  const rates = startRates(options.bus, metrics);
  const context: Context = {
    options,
    closing: closing.signal,
    heartbeatMs: overrides.heartbeatMs ?? limits.followHeartbeatMs,
    retryForMs: overrides.retryForMs ?? retryForMs,
    openApi: once(() => createOpenApi(version)),
    metrics,
    rates,
    durations: metrics.histogram(
      "http.server.request.duration",
      "s",
      "Time from a request's head to the end of its answer",
      durationBounds,
    ),
  };
  const server = createServer(context, (credentials) => toPrincipal(credentials, options));
  let agents: AsyncDisposable | null = null;
  const listener = await listenUnix(server, {
    path: socketPath,
    mode: 0o660,
    ...(socketGid !== undefined && { gid: socketGid }),
  });
  const scrape =
    options.scrapeAddress &&
    (await openScrapePort(options.scrapeAddress, () => scrapeMetrics(options.bus, metrics), log));
  log.info({ socket: socketPath }, "gateway serves");
  return {
    socketPath,
    scrapePort: scrape?.port ?? null,
    serveAgents(agentsDir) {
      agents ??= startAgentSockets({
        ...{ agentsDir, log, follow: followOver(options.bus) },
        listen: (path, agent) =>
          bindUnix(
            createServer(context, (credentials) => toAgentPrincipal(credentials, agent)),
            { path, mode: 0o666 },
          ),
      });
    },
    async [Symbol.asyncDispose]() {
      // No new connections; follows and waits end; what is being answered gets its answer; then whatever is left is cut.
      closing.abort(new ProblemError("unavailable", { detail: "the gateway is ending", retry_after_ms: 1000 }));
      await scrape?.[Symbol.asyncDispose]();
      await agents?.[Symbol.asyncDispose]();
      const closed = listener[Symbol.asyncDispose]();
      server.closeIdleConnections();
      const cut = setTimeout(() => server.closeAllConnections(), overrides.drainMs ?? drainMs);
      await closed;
      clearTimeout(cut);
      await rates[Symbol.asyncDispose]();
    },
  };
}

/** A server on whose connections everybody is who the socket makes him. */
function createServer(context: Context, identify: (credentials: PeerCredentials) => Principal): Server {
  const { log } = context.options;
  const server = createProblemServer({
    handle: (exchange) => handle(context, exchange, identify(peerCredentials(exchange.request.socket))),
    onUnexpected: (error, { requestId }) => log.error({ err: error, request_id: requestId }, "unexpected error"),
    maxHeaderBytes: limits.requestHeadersBytes,
  });
  server.on("connection", (socket) => {
    try {
      peerCredentials(socket);
    } catch (error) {
      // Whose connection it is cannot be known any more; its other end has gone already.
      log.debug({ err: error }, "connection without credentials");
      socket.destroy();
    }
  });
  return server;
}

/** Asks jobs for the agents, in the gateway's own name. */
function followOver(bus: Bus): AgentSocketsOptions["follow"] {
  const principal: Principal = { type: "Service", id: "gateway", roles: [] };
  return async (known, signal) => {
    const envelope = { principal, request_id: createId("req") };
    const input = { version: known, wait_ms: limits.requestDeadlineMs };
    return (await ask(bus, followAgents, input, { envelope, timeoutMs: 2 * limits.requestDeadlineMs, signal })).reply;
  };
}

async function handle(context: Context, exchange: Exchange, principal: Principal): Promise<void> {
  const { request, response, requestId } = exchange;
  const startedAt = performance.now();
  if (context.closing.aborted) response.setHeader("Connection", "close");
  let route = "";
  let span: Span | null = null;
  response.once("close", () => {
    const tookMs = performance.now() - startedAt;
    logRequest(context.options.log, exchange, tookMs);
    const attributes = describe(exchange, route);
    context.durations.record(tookMs / 1000, attributes);
    span?.set(attributes);
    span?.end(response.statusCode < 500 ? undefined : `answered ${response.statusCode}`);
  });
  const [path = "", search = ""] = splitTarget(request.url ?? "");
  const match = matchRoute(request.method ?? "", path);
  route = match.template;
  if ("allow" in match) {
    response.setHeader("Allow", match.allow.join(", "));
    throw new ProblemError("method-not-allowed", { detail: `this route knows ${match.allow.join(", ")}` });
  }
  if (!isHealthCheck(match.route, principal)) context.rates.admit(principal);
  const envelope = toEnvelope(request, principal, requestId);
  const about = { "aether.request_id": requestId, "aether.principal": principalName(principal) };
  span = context.options.bus.tracer?.start(`${request.method} ${route}`, "server", envelope.traceparent, about) ?? null;
  if (span) envelope.traceparent = span.traceparent;
  if (request.method === "GET") refuseBody(request);
  await answer(context, exchange, { ...match, search: new URLSearchParams(search), envelope, principal });
}

/** An operator must be able to see what is wrong, also of what asks too much in his own name. */
function isHealthCheck(route: Route, { roles }: Principal): boolean {
  return "system" in route && route.system === "/health" && roles.includes("operator");
}

interface Call {
  route: Route;
  params: Record<string, string>;
  search: URLSearchParams;
  envelope: ReturnType<typeof toEnvelope>;
  principal: Principal;
}

async function answer(context: Context, exchange: Exchange, call: Call): Promise<void> {
  const { route, params, search, envelope, principal } = call;
  const { bus, log, domain } = context.options;
  if ("operation" in route) {
    const { operation } = route;
    if (operation.name === readLogs.name) {
      return answerLogs({ ...context, bus, log }, exchange, { id: params.id ?? "", search, envelope });
    }
    if (operation.kind === "upload")
      return answerUpload({ ...context, bus }, exchange, { operation, search, envelope });
    if (operation.kind === "download")
      return answerDownload({ ...context, bus }, exchange, { id: params.id ?? "", search, envelope });
    if (operation.name === exportAudit.name) {
      return answerExport({ ...context, bus, log }, exchange, { search, envelope });
    }
    if (operation.name === readEvents.name) {
      return answerEvents({ ...context, bus, log }, exchange, { search, envelope });
    }
    return answerOperation({ ...context, bus, log }, exchange, { operation, params, search, envelope });
  }
  for (const name of search.keys()) throw invalidField(name, "unknown parameter");
  switch (route.system) {
    case "/health": {
      const health = await readHealth(bus, version, envelope);
      return writeJson(exchange.response, health.status === "down" ? 503 : 200, health);
    }
    case "/metrics": {
      const metrics = await readMetrics(bus, context.metrics, envelope);
      const format = chooseFormat(exchange.request.headers.accept);
      if (format === "json") return writeJson(exchange.response, 200, metrics);
      return writeText(exchange.response, textTypes[format], formatMetrics(metrics, format));
    }
    case "/whoami":
      return writeJson(exchange.response, 200, toWhoAmI(principal, domain));
    case "/version":
      return writeJson(exchange.response, 200, { version, api: "v0", node: process.versions.node } satisfies Version);
    case "/openapi.json":
      return writeJson(exchange.response, 200, context.openApi());
  }
}

const methods: readonly string[] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/** As OpenTelemetry's HTTP conventions have it: the route as its template, and of methods those there are. */
function describe({ request, response }: Exchange, route: string): Record<string, string | number> {
  const method = request.method ?? "";
  return {
    "http.request.method": methods.includes(method) ? method : "_OTHER",
    ...(route !== "" && { "http.route": route }),
    "http.response.status_code": response.statusCode,
  };
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

function splitTarget(target: string): [string, string] {
  const at = target.indexOf("?");
  return at < 0 ? [target, ""] : [target.slice(0, at), target.slice(at + 1)];
}

function logRequest(log: Logger, { request, response, requestId }: Exchange, elapsedMs: number): void {
  const fields = {
    request_id: requestId,
    method: request.method,
    path: splitTarget(request.url ?? "")[0],
    status: response.statusCode,
    duration_ms: Math.round(elapsedMs * 10) / 10,
  };
  if (response.statusCode >= 500) log.warn(fields, "answered");
  else if (request.method === "GET") log.debug(fields, "answered");
  else log.info(fields, "answered");
}
