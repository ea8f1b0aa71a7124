// The owners' views that are in use: opened when somebody comes, closed when nobody has come for a while, a bounded number at
// a time. Writes of one owner go one after the other, each as the successor of the last one that the view holds.
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Bus } from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import { openView, type View } from "@aether/view";
import { applyMessage, createLayout, type EntryRow, entryQueries } from "./entry-view.ts";
import type { Reader, SqlRow, SqlValue } from "./reader.ts";
import { type StoredEntry, toFacts } from "./record.ts";
import { memoryStream, ownerToken, type Store, subjectOf } from "./store.ts";

export interface Shelf {
  readonly owner: string;
  readonly view: View;
  readonly queries: ReturnType<typeof entryQueries>;
  /** Reads off the event loop. */
  read(sql: string, ...values: SqlValue[]): Promise<SqlRow[]>;
  /** Stores what `decide` makes of what the owner keeps at that moment, once for each id; answers what is stored. */
  write(id: string, decide: () => StoredEntry): Promise<EntryRow>;
  /** Leaves nothing of what was forgotten in the file and its log; false where somebody reads just now. */
  scrub(): Promise<boolean>;
}

export interface Shelves extends AsyncDisposable {
  /** Calls with the owner's shelf, which stays open meanwhile. */
  use<T>(owner: string, act: (shelf: Shelf) => Promise<T>): Promise<T>;
}

interface Kept {
  opening: Promise<Shelf>;
  users: number;
  usedAt: number;
}

const openMax = 8;
const idleMs = 5 * 60_000;
const lookMs = 30_000;
const reachMs = 5_000;
const triesMax = 20;

export interface ShelvesOptions {
  bus: Bus;
  store: Store;
  reader: Reader;
  dir: string;
  /** Called with a shelf that was just opened, and again from time to time while it is open. */
  tend(shelf: Shelf): Promise<void>;
}

/** Makes the folder; nothing is opened yet. */
export function createShelves(options: ShelvesOptions): Shelves {
  mkdirSync(options.dir, { recursive: true, mode: 0o700 });
  chmodSync(options.dir, 0o700);
  const shelves = new Map<string, Kept>();

  const close = async (owner: string, { opening }: Kept) => {
    const shelf = await opening.catch(() => null);
    if (!shelf) return;
    await options.reader.release(shelfFile(options.dir, owner));
    await shelf.view[Symbol.asyncDispose]();
  };
  // One at a time: a file must not be opened again while it is being closed.
  let closing: Promise<void> = Promise.resolve();
  const closeIdle = (keep: number, unusedForMs: number) => {
    const unused = [...shelves].filter(([, { users }]) => users === 0).sort(([, a], [, b]) => a.usedAt - b.usedAt);
    for (const [owner, kept] of unused) {
      if (shelves.size <= keep && performance.now() - kept.usedAt < unusedForMs) continue;
      shelves.delete(owner);
      closing = closing
        .then(() => close(owner, kept))
        .catch((error: unknown) => options.bus.log.warn({ err: error }, "a view was not closed well"));
    }
  };
  let isEnding = false;
  let look = setTimeout(lookAfter, lookMs).unref();
  async function lookAfter(): Promise<void> {
    closeIdle(openMax, idleMs);
    for (const owner of [...shelves.keys()]) await use(owner, options.tend, false).catch(() => {});
    if (!isEnding) look = setTimeout(lookAfter, lookMs).unref();
  }

  async function use<T>(owner: string, act: (shelf: Shelf) => Promise<T>, counts = true): Promise<T> {
    let kept = shelves.get(owner);
    if (!kept) {
      closeIdle(openMax - 1, Number.POSITIVE_INFINITY);
      const opening = closing.then(() => openShelf(options, owner));
      kept = { opening, users: 0, usedAt: performance.now() };
      shelves.set(owner, kept);
      opening.catch(() => shelves.get(owner)?.opening === opening && shelves.delete(owner));
    }
    kept.users++;
    if (counts) kept.usedAt = performance.now();
    try {
      return await act(await kept.opening);
    } finally {
      kept.users--;
    }
  }

  return {
    use,
    async [Symbol.asyncDispose]() {
      isEnding = true;
      clearTimeout(look);
      await closing;
      for (const [owner, kept] of shelves) await close(owner, kept);
    },
  };
}

const shelfFile = (dir: string, owner: string) => join(dir, `${ownerToken(owner)}.sqlite`);

async function openShelf(options: ShelvesOptions, owner: string): Promise<Shelf> {
  const file = shelfFile(options.dir, owner);
  const view = await openView({
    ...{ bus: options.bus, file, stream: memoryStream, subject: subjectOf(owner, "*"), layout: createLayout() },
    erases: true,
    inFlight: 128, // of up to half a mebibyte each
    apply: applyMessage,
  });
  let last: Promise<unknown> = Promise.resolve();
  const shelf: Shelf = {
    owner,
    view,
    queries: entryQueries(view.database),
    read: (sql, ...values) => options.reader.all(file, sql, ...values),
    write(id, decide) {
      const written = last.then(() => append(options.store, shelf, id, decide));
      last = written.catch(() => {});
      return written;
    },
    async scrub() {
      await options.reader.release(file);
      return view.database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.busy === 0;
    },
  };
  await options.tend(shelf);
  return shelf;
}

async function append(store: Store, shelf: Shelf, id: string, decide: () => StoredEntry): Promise<EntryRow> {
  const { owner, view, queries } = shelf;
  for (let tries = 0; tries < triesMax; tries++) {
    const stored = queries.get(id); // by a try whose answer was lost, or by an earlier request with the same key
    if (stored) return stored;
    if (queries.isForgotten(id)) throw new ProblemError("conflict", { detail: "it was kept, and forgotten since" });
    const entry = decide();
    const sequence = await store.append(entry, view.sequence);
    // What is answered can be found: the next read and the next write see it.
    await view.reach(sequence ?? (await store.lastOf(owner)), reachMs);
    if (sequence !== null) return { facts: toFacts(entry), sequence, supersededBy: null, supersededAt: null };
  }
  throw new ProblemError("unavailable", { detail: "this memory changes too often right now", retry_after_ms: 200 });
}
