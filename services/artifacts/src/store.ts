// The truth about artifacts: records in KV `artifacts`, bytes in the stream ARTIFACTS. Bytes exist before their record and
// count from the record's write on; what no record names is an orphan, and is purged where it became one or at the next
// start. Deciding and writing are one step (`exclusive`), and this service is the only writer, so no second put can come
// between the last record's end and its bytes'.
import {
  type Bus,
  type Entry,
  type Ledger,
  type Objects,
  objectSubject,
  openBucket,
  openLedger,
  openObjects,
} from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import { type ArtifactIndex, openArtifactIndex } from "./index-view.ts";
import { StoredArtifact } from "./record.ts";

export interface Store extends AsyncDisposable {
  readonly index: ArtifactIndex;
  readonly objects: Objects;
  readonly superseded: Promise<void>;
  /** What the artifacts may take together. */
  readonly maxBytes: number;
  get(id: string): Promise<Entry<StoredArtifact> | null>;
  /** Runs it alone, with a view that has seen every write. */
  exclusive<T>(act: () => Promise<T>): Promise<T>;
  /** Writes the record; inside `exclusive`. */
  create(artifact: StoredArtifact): Promise<Entry<StoredArtifact>>;
  /** Removes the record, and its bytes where it was the last one to name them; inside `exclusive`. */
  remove(artifact: Entry<StoredArtifact>): Promise<void>;
  /** Keeps an object's bytes, whatever is removed, until disposed. */
  pin(object: string): Disposable;
  /** Removes an object's bytes unless something names or pins them. */
  release(object: string): Promise<void>;
}

const reachMs = 10_000;
const storeFullCodes: readonly unknown[] = [10077, 10047, 10023];

/** Takes the store over, and removes what an earlier incarnation left unfinished. */
export async function openStore(bus: Bus, viewFile: string, shareOfStore: number): Promise<Store> {
  await using stack = new AsyncDisposableStack();
  const ledger = await openLedger(bus, "artifacts");
  const bucket = openBucket(bus, "artifacts", StoredArtifact);
  const objects = openObjects(bus, "ARTIFACTS", objectSubject);
  const index = stack.use(await openArtifactIndex(bus, viewFile));
  const pins = new Map<string, number>();
  let busy: Promise<unknown> = Promise.resolve();

  const store: Omit<Store, typeof Symbol.asyncDispose> = {
    index,
    objects,
    superseded: ledger.superseded,
    maxBytes: Math.floor((await objects.maxBytes()) * shareOfStore),
    get: (id) => bucket.get(id),
    exclusive(act) {
      const done = busy.then(async () => {
        await reachEnd(index, ledger);
        return act();
      });
      busy = done.catch(() => {});
      return done;
    },
    async create(artifact) {
      return { value: artifact, revision: await ledger.put(artifact.id, artifact).catch(rethrow) };
    },
    async remove(artifact) {
      const { id, object } = artifact.value;
      await ledger.remove(id, artifact).catch(rethrow);
      await reachEnd(index, ledger);
      await store.release(object);
    },
    pin(object) {
      pins.set(object, (pins.get(object) ?? 0) + 1);
      let isHeld = true;
      return {
        [Symbol.dispose]() {
          const held = (pins.get(object) ?? 0) - (isHeld ? 1 : 0);
          isHeld = false;
          if (held > 0) pins.set(object, held);
          else pins.delete(object);
        },
      };
    },
    async release(object) {
      if (pins.has(object) || index.isUsed(object)) return;
      await objects.purge(object).catch((error: unknown) => {
        bus.log.warn({ err: error, object }, "bytes that nobody names are left for the next start");
      });
    },
  };
  await reachEnd(index, ledger);
  for (const object of await objects.list()) await store.release(object);
  const running = stack.move();
  return { ...store, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function reachEnd(index: ArtifactIndex, ledger: Ledger): Promise<void> {
  if (await index.view.reach(ledger.sequence, reachMs)) return;
  throw new ProblemError("unavailable", { detail: "the records are not all read yet", retry_after_ms: 1000 });
}

/** What JetStream says when the stream may not grow. */
export function isStoreFull(error: unknown): boolean {
  return storeFullCodes.includes((error as { code?: unknown } | null)?.code);
}

function rethrow(error: unknown): never {
  if (isStoreFull(error))
    throw new ProblemError("artifacts-full", { detail: "there is no room for records" }, { cause: error });
  throw new ProblemError("outcome-unknown", { detail: "the store did not answer in time" }, { cause: error });
}
