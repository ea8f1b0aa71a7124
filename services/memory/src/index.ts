// The memory service: notes and documents, kept word for word in the stream MEMORY and found again through one view an owner.
import { type Bus, connectBus, handler, serve } from "@aether/bus";
import { healthOperation } from "@aether/contracts";
import { createOpener } from "@aether/opener";
import { createRegistry, type Logger } from "@aether/telemetry";
import type { MemoryConfig } from "./config.ts";
import { tend } from "./forget.ts";
import { memoryHandlers } from "./handlers.ts";
import { createPdfReader } from "./pdf.ts";
import { createReader } from "./reader.ts";
import { createShelves } from "./shelves.ts";
import { createSourceReader } from "./source-reader.ts";
import { openStore } from "./store.ts";
import { createVectors, type Embedder } from "./vectors.ts";

export { MemoryConfig } from "./config.ts";
export type { Embedder } from "./vectors.ts";

const version = "0.1.0";

export interface MemoryOverrides {
  bus?: Bus;
  /** Makes texts comparable by meaning; without one, search goes by words. */
  embedder?: Embedder;
  clock?: { now(): Date };
}

/** Starts an instance; resolves when it serves. Disposing it answers what is asked already, then leaves. */
export async function startMemory(
  config: MemoryConfig,
  log: Logger,
  overrides: MemoryOverrides = {},
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const clock = overrides.clock ?? { now: () => new Date() };
  const bus =
    overrides.bus ??
    stack.use(
      await connectBus({
        ...{ server: config.AETHER_NATS_URL, user: "memory", seedFile: config.AETHER_MEMORY_SEED_FILE },
        ...{ otlpEndpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT, log },
      }),
    );
  const opener = stack.use(createOpener({ socketPath: config.AETHER_MEMORY_OPENER_SOCKET ?? null }));
  const sources = createSourceReader(bus, opener);
  const pdf = createPdfReader(bus, config.AETHER_MEMORY_PDFTOTEXT, log);
  const store = openStore(bus);
  const reader = stack.use(createReader());
  const vectors = overrides.embedder ? createVectors(overrides.embedder, log) : null;
  const shelves = stack.use(
    createShelves({
      ...{ bus, store, reader, dir: config.AETHER_MEMORY_VIEWS_DIR },
      tend: (shelf) => {
        vectors?.fill(shelf);
        return tend(shelf, store, clock.now()).catch((error: unknown) => {
          // The words are hidden already; the next look erases them.
          log.warn({ err: error }, "what has expired or was forgotten is not erased yet");
        });
      },
    }),
  );
  const health = handler(healthOperation("memory"), { handle: async () => ({ version, degraded: [] }) });
  stack.use(
    await serve(bus, {
      service: "memory",
      version,
      description: "Notes and documents, found again with their source",
      idempotency: true,
      metrics: createRegistry(),
      handlers: [...memoryHandlers({ store, shelves, vectors, sources, pdf, clock }), health],
    }),
  );
  const running = stack.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}
