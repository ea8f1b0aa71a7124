// One connection of one NATS user, for life: it reconnects for ever, keeps to its own inbox prefix, and reports every
// asynchronous error (a publish without permission surfaces nowhere else).
import { readFileSync } from "node:fs";
import { limits } from "@aether/contracts";
import { type Logger, openTracing, type Tracer, type Tracing } from "@aether/telemetry";
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { seedAuthenticator } from "./nkey.ts";

export interface BusOptions {
  /** `nats://host:port`, or several separated by commas. */
  server: string;
  /** NATS user; also the caller token of its subjects and the token of its inbox. */
  user: string;
  /** File with the nkey seed of that user. */
  seedFile: string;
  log: Logger;
  /** Collector that gets traces of what is asked and served here; none where absent. */
  otlpEndpoint?: string | undefined;
}

/** A connection with its JetStream context; the door to `request`, `serve`, buckets and streams. */
export interface Bus extends AsyncDisposable {
  readonly user: string;
  readonly log: Logger;
  readonly nats: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  /** Absent where no collector is configured. */
  readonly tracer: Tracer | null;
  readonly tracing: Pick<Tracing, "exported" | "dropped"> | null;
  /** Whether the connection stands right now. */
  readonly connected: boolean;
  /** How often it has come back; what counts silence begins anew when this changes. */
  readonly reconnects: number;
  /** Calls back whenever the connection has come back, until disposed: what the server held for it may be gone. */
  onReconnect(callback: () => void): Disposable;
}

/** A server that dies in the middle of a handshake is noticed by this alone. Less than a lease, which must outlast it. */
const handshakeMs = 3_000;

/** Connects, waiting for the server as long as it takes to come up. */
export async function connectBus(options: BusOptions): Promise<Bus> {
  const tracing = await openTracing(options.otlpEndpoint);
  const nats = await connect({
    servers: options.server.split(","),
    name: options.user,
    authenticator: seedAuthenticator(readFileSync(options.seedFile, "utf8")),
    inboxPrefix: `_INBOX.${options.user}`,
    maxReconnectAttempts: -1,
    waitOnFirstConnect: true,
    reconnectTimeWait: 100,
    reconnectJitter: 100,
    timeout: handshakeMs,
    pingInterval: 5_000,
    maxPingOut: 2,
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true, // two stack traces less for every request
  });
  const js = jetstream(nats, { timeout: limits.decideDeadlineMs });
  const jsm = await jetstreamManager(nats, { checkAPI: false, timeout: limits.decideDeadlineMs });
  const state: ConnectionState = { connected: true, reconnects: 0, onReconnect: new Set() };
  void watchStatus(nats, state, options.log);
  return {
    user: options.user,
    log: options.log,
    nats,
    js,
    jsm,
    tracing,
    tracer: tracing?.tracer(options.user.split("-")[0] ?? "") ?? null,
    get connected() {
      return state.connected;
    },
    get reconnects() {
      return state.reconnects;
    },
    onReconnect(callback) {
      state.onReconnect.add(callback);
      return { [Symbol.dispose]: () => void state.onReconnect.delete(callback) };
    },
    async [Symbol.asyncDispose]() {
      if (!nats.isClosed()) await nats.close();
      await tracing?.[Symbol.asyncDispose]();
    },
  };
}

interface ConnectionState {
  connected: boolean;
  reconnects: number;
  onReconnect: Set<() => void>;
}

async function watchStatus(nats: NatsConnection, state: ConnectionState, log: Logger): Promise<void> {
  for await (const status of nats.status()) {
    if (status.type === "disconnect") {
      state.connected = false;
      log.warn({ server: status.server }, "disconnected from NATS");
    } else if (status.type === "reconnect") {
      state.connected = true;
      state.reconnects++;
      log.info({ server: status.server }, "reconnected to NATS");
      for (const callback of state.onReconnect) callback();
    } else if (status.type === "error") {
      log.error({ err: status.error }, "asynchronous NATS error");
    }
  }
}
