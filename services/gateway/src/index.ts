// The gateway: HTTP on a unix socket on one side, the bus on the other. It knows who calls (peer credentials), refuses what
// is not valid before anybody is asked, translates, and streams. It holds no state and takes no decision.
import type { Bus } from "@aether/bus";
import { createOpenApi, limits, ProblemError, readLogs, type Version } from "@aether/contracts";
import { createProblemServer, type Exchange, listenUnix, peerCredentials, writeJson } from "@aether/http";
import type { Logger } from "@aether/telemetry";
import { refuseBody, toEnvelope } from "./call.ts";
import { answerDownload } from "./download-route.ts";
import { readHealth } from "./health.ts";
import { answerLogs } from "./log-route.ts";
import { answerOperation } from "./operation-route.ts";
import { type Roles, toPrincipal } from "./principal.ts";
import { matchRoute, type Route } from "./routes.ts";
import { answerUpload } from "./upload-route.ts";
import { version } from "./version.ts";

export interface GatewayOptions extends Roles {
  socketPath: string;
  /** Connected as the user `gateway`; stays the caller's to close. */
  bus: Bus;
  log: Logger;
}

/** What tests change. */
export interface GatewayOverrides {
  heartbeatMs?: number;
  retryForMs?: number;
  drainMs?: number;
}

export interface Gateway extends AsyncDisposable {
  readonly socketPath: string;
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
}

/** Serves the HTTP API until disposed. */
export async function startGateway(options: GatewayOptions, overrides: GatewayOverrides = {}): Promise<Gateway> {
  const { socketPath, memberGid, log } = options;
  const closing = new AbortController();
  const context: Context = {
    options,
    closing: closing.signal,
    heartbeatMs: overrides.heartbeatMs ?? limits.followHeartbeatMs,
    retryForMs: overrides.retryForMs ?? retryForMs,
    openApi: once(() => createOpenApi(version)),
  };
  const server = createProblemServer({
    handle: (exchange) => handle(context, exchange),
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
  const listener = await listenUnix(server, {
    path: socketPath,
    mode: 0o660,
    ...(memberGid !== undefined && { gid: memberGid }),
  });
  log.info({ socket: socketPath }, "gateway serves");
  return {
    socketPath,
    async [Symbol.asyncDispose]() {
      // No new connections; follows and waits end; what is being answered gets its answer; then whatever is left is cut.
      closing.abort(new ProblemError("unavailable", { detail: "the gateway is ending", retry_after_ms: 1000 }));
      const closed = listener[Symbol.asyncDispose]();
      server.closeIdleConnections();
      const cut = setTimeout(() => server.closeAllConnections(), overrides.drainMs ?? drainMs);
      await closed;
      clearTimeout(cut);
    },
  };
}

async function handle(context: Context, exchange: Exchange): Promise<void> {
  const { request, response, requestId } = exchange;
  const startedAt = performance.now();
  if (context.closing.aborted) response.setHeader("Connection", "close");
  response.once("close", () => logRequest(context.options.log, exchange, performance.now() - startedAt));
  const [path = "", search = ""] = splitTarget(request.url ?? "");
  const match = matchRoute(request.method ?? "", path);
  if ("allow" in match) {
    response.setHeader("Allow", match.allow.join(", "));
    throw new ProblemError("method-not-allowed", { detail: `this route knows ${match.allow.join(", ")}` });
  }
  const principal = toPrincipal(peerCredentials(request.socket), context.options);
  const envelope = toEnvelope(request, principal, requestId);
  if (request.method === "GET") refuseBody(request);
  await answer(context, exchange, { ...match, search: new URLSearchParams(search), envelope });
}

interface Call {
  route: Route;
  params: Record<string, string>;
  search: URLSearchParams;
  envelope: ReturnType<typeof toEnvelope>;
}

async function answer(context: Context, exchange: Exchange, { route, params, search, envelope }: Call): Promise<void> {
  const { bus, log } = context.options;
  if ("operation" in route) {
    const { operation } = route;
    if (operation.name === readLogs.name) {
      return answerLogs({ ...context, bus, log }, exchange, { id: params.id ?? "", search, envelope });
    }
    if (operation.kind === "upload")
      return answerUpload({ ...context, bus }, exchange, { operation, search, envelope });
    if (operation.kind === "download")
      return answerDownload({ ...context, bus }, exchange, { id: params.id ?? "", search, envelope });
    return answerOperation({ ...context, bus, log }, exchange, { operation, params, search, envelope });
  }
  for (const name of search.keys()) throw new ProblemError("invalid-request", { detail: `${name}: unknown parameter` });
  switch (route.system) {
    case "/health": {
      const health = await readHealth(bus, version, envelope);
      return writeJson(exchange.response, health.status === "down" ? 503 : 200, health);
    }
    case "/version":
      return writeJson(exchange.response, 200, { version, api: "v0", node: process.versions.node } satisfies Version);
    case "/openapi.json":
      return writeJson(exchange.response, 200, context.openApi());
  }
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
