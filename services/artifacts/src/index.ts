// The artifacts service: bytes under their digest, the records that name them, and the files of this host that hold them.
// One instance writes at a time: the one that started last. An instance that finds itself replaced stops serving.
import { type Bus, connectBus, handler, serve } from "@aether/bus";
import { healthOperation, limits } from "@aether/contracts";
import { createOpener } from "@aether/opener";
import { watchSpace } from "@aether/service";
import { createRegistry, type Logger } from "@aether/telemetry";
import type { ArtifactsConfig } from "./config.ts";
import { createFiles } from "./files.ts";
import { artifactHandlers, type Transfer } from "./handlers.ts";
import { lendingHandler } from "./lending.ts";
import { openByteQuota, usageHandler } from "./quota.ts";
import { openStore } from "./store.ts";
import { createTransfers } from "./transfers.ts";
import { createUploads } from "./uploads.ts";
import { workerHandlers } from "./worker-handlers.ts";

export { ArtifactsConfig } from "./config.ts";

const version = "0.1.0";

export interface Artifacts extends AsyncDisposable {
  /** Settles when another instance took over; this one serves no more. */
  readonly superseded: Promise<void>;
}

/** Starts the service; resolves when it serves. Disposing it answers what is asked already and gives every transfer up. */
export async function startArtifacts(
  config: ArtifactsConfig,
  log: Logger,
  overrides: { bus?: Bus } = {},
): Promise<Artifacts> {
  await using stack = new AsyncDisposableStack();
  const bus =
    overrides.bus ??
    stack.use(
      await connectBus({
        ...{ server: config.AETHER_NATS_URL, user: "artifacts", seedFile: config.AETHER_ARTIFACTS_SEED_FILE, log },
        otlpEndpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
      }),
    );
  const freeFloorBytes = config.AETHER_ARTIFACTS_FREE_FLOOR_BYTES;
  const space = watchSpace(config.AETHER_ARTIFACTS_STORE_DIR ?? null, freeFloorBytes);
  const filesDir = config.AETHER_ARTIFACTS_DIR;
  const opener = stack.use(createOpener({ socketPath: config.AETHER_ARTIFACTS_OPENER_SOCKET ?? null, filesDir }));
  const store = stack.use(await openStore(bus, config.AETHER_ARTIFACTS_VIEW_FILE, limits.artifactsShareOfStore));
  const metrics = createRegistry();
  const uploads = createUploads(store, stack.use(await openByteQuota(bus, metrics)));
  const files = createFiles({ store, uploads, opener, freeFloorBytes });
  const transfers = stack.use(
    createTransfers<Transfer>(config.AETHER_ARTIFACTS_IDLE_MS, (error) =>
      log.warn({ err: error }, "a transfer that was given up left bytes for the next start"),
    ),
  );
  const parts = { store, uploads, files, transfers, requireSpace: space.require };
  const served = stack.use(
    await serve(bus, {
      service: "artifacts",
      version,
      description: "Bytes under their digest, and the records that name them",
      idempotency: true,
      metrics,
      handlers: [
        ...artifactHandlers(parts),
        ...workerHandlers({ bus, ...parts }),
        lendingHandler({ bus, ...parts }),
        usageHandler({ store }),
        handler(healthOperation("artifacts"), {
          handle: async () => ({ version, degraded: await space.degraded() }),
        }),
      ],
    }),
  );
  void files.sweep().catch((error: unknown) => log.warn({ err: error }, "placed files could not be looked through"));
  const superseded = store.superseded.then(() => served[Symbol.asyncDispose]());
  const running = stack.move();
  return { superseded, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
