// The secrets service: named values of users, sealed under a key of the installation, for their jobs. Any number of instances
// may run: they share the key file, and every write is a compare-and-set.
import { type Bus, connectBus, handler, serve } from "@aether/bus";
import { healthOperation } from "@aether/contracts";
import { createRegistry, type Logger } from "@aether/telemetry";
import type { SecretsConfig } from "./config.ts";
import { secretHandlers } from "./handlers.ts";
import { type Keys, readKeys } from "./key-file.ts";
import { createSecretsMetrics } from "./metrics.ts";
import { type Resealed, resealAll } from "./reseal.ts";
import { openStore } from "./store.ts";
import { workerHandlers } from "./worker-handlers.ts";

export { SecretsConfig } from "./config.ts";
export { type Keys, readKeys } from "./key-file.ts";

const version = "0.1.0";

/** Starts an instance; resolves when it serves. Disposing it answers what is asked already, then leaves. */
export async function startSecrets(
  config: SecretsConfig,
  log: Logger,
  overrides: { bus?: Bus; keys?: Keys } = {},
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const {
    AETHER_NATS_URL: server,
    AETHER_SECRETS_SEED_FILE: seedFile,
    OTEL_EXPORTER_OTLP_ENDPOINT: otlpEndpoint,
  } = config;
  const keys = overrides.keys ?? readKeys(config.AETHER_SECRETS_KEY_FILE);
  const bus = overrides.bus ?? stack.use(await connectBus({ server, user: "secrets", seedFile, otlpEndpoint, log }));
  const store = openStore(bus);
  const metrics = createRegistry();
  const measures = createSecretsMetrics(metrics);
  const seals: Promise<Resealed> = resealAll(store, keys, log);
  let closed: readonly string[] = [];
  stack.use(
    await serve(bus, {
      service: "secrets",
      version,
      description: "Named values for jobs, sealed",
      metrics,
      handlers: [
        ...secretHandlers({ store, keys }),
        ...workerHandlers({ bus, store, keys, onTaken: measures.taken }),
        handler(healthOperation("secrets"), { handle: async () => ({ version, degraded: describe(closed) }) }),
      ],
    }),
  );
  stack.defer(async () => void (await seals.catch(() => {})));
  void seals.then(
    (done) => {
      closed = done.closed;
    },
    (error: unknown) => log.warn({ err: error }, "secrets could not be looked through; the next start does it"),
  );
  const running = stack.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}

function describe({ length }: readonly string[]): string[] {
  if (length === 0) return [];
  return [
    `no key of the key file opens ${length} secret${length === 1 ? "" : "s"}: restore the file or set them anew, and start again`,
  ];
}
