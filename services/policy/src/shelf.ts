// Values of one kind among what policy remembers, in memory and in the ledger. Memory is ahead: it changes at once, so that of two
// decisions the second one sees the first, and whoever waits for a change is told when it is stored. What could not be stored
// is tried again; until then nobody was told that it happened.
import { Superseded } from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import type { z } from "zod";
import type { Remembered } from "./remembered.ts";

export interface Shelf<T> {
  get(key: string): T | undefined;
  /** Sequence of the stored change that made the value what it is; 0 before the first. */
  revisionOf(key: string): number;
  values(): IterableIterator<T>;
  readonly size: number;
  /** Replaces the value now; resolves when that is stored, throws `outcome-unknown` otherwise. */
  put(key: string, value: T): Promise<void>;
  /** Replaces the value now, and stores it with the next `settle`. */
  note(key: string, value: T): void;
  remove(key: string): Promise<void>;
  /** Resolves when the value is stored as it is now. */
  ensure(key: string): Promise<void>;
  /** Stores what is not stored yet. */
  settle(): Promise<void>;
}

/** The values whose keys begin so; one that cannot be read stops the service, which must not decide without it. */
export function openShelf<T>(
  { ledger, stored }: Remembered,
  prefix: string,
  schema: z.ZodType<T>,
  onStored: () => void = () => {},
): Shelf<T> {
  const kept = new Map<string, { value: T; revision: number }>();
  for (const [key, { value, revision }] of stored) {
    if (key.startsWith(prefix)) kept.set(key, { value: schema.parse(value), revision });
  }
  /** Ahead of the ledger; a value that is gone is to be removed. */
  const unsaved = new Set<string>();

  async function save(key: string): Promise<void> {
    unsaved.add(key);
    const entry = kept.get(key);
    try {
      const revision = entry
        ? await ledger.put(key, entry.value)
        : await ledger.remove(key, { value: null, revision: 0 });
      if (kept.get(key) === entry) unsaved.delete(key);
      if (entry) entry.revision = revision;
    } catch (error) {
      throw notStored(error);
    }
    onStored();
  }

  function set(key: string, value: T): void {
    kept.set(key, { value, revision: kept.get(key)?.revision ?? 0 });
  }

  return {
    get: (key) => kept.get(key)?.value,
    revisionOf: (key) => kept.get(key)?.revision ?? 0,
    *values() {
      for (const { value } of kept.values()) yield value;
    },
    get size() {
      return kept.size;
    },
    put(key, value) {
      set(key, value);
      return save(key);
    },
    note(key, value) {
      set(key, value);
      unsaved.add(key);
    },
    remove(key) {
      kept.delete(key);
      return save(key);
    },
    ensure: (key) => (unsaved.has(key) ? save(key) : Promise.resolve()),
    async settle() {
      for (const key of [...unsaved]) await save(key);
    },
  };
}

function notStored(error: unknown): ProblemError {
  if (error instanceof Superseded) {
    const detail = "another policy instance has taken over";
    return new ProblemError("unavailable", { detail, retry_after_ms: 1000 }, { cause: error });
  }
  return new ProblemError("outcome-unknown", { detail: "the store did not answer in time" }, { cause: error });
}
