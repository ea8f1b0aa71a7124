// Forgetting: a tombstone in the stream, then the entry's message overwritten there, then nothing of it left in the view's
// file and its log. Each step may be the last before a crash; the view knows what is still to be erased, and whoever opens it
// next, or asks again, goes on.
import { setTimeout } from "node:timers/promises";
import { RevisionConflict } from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import type { StoredEntry, Tombstone } from "./record.ts";
import type { Shelf } from "./shelves.ts";
import type { Found, Store } from "./store.ts";

const reachMs = 5_000;
const expiredAtOnce = 100;
const scrubTries = 20;

/** Forgets an entry, or what an earlier try has left of it; answers its tombstone. */
export async function forget(
  { record, sequence }: Found,
  { shelf, store, by, now }: { shelf: Shelf; store: Store; by: string; now: Date },
): Promise<Tombstone> {
  const buried =
    record.type === "forgotten" ? { tombstone: record, sequence } : await bury(record, sequence, { store, by, now });
  if (!(await shelf.view.reach(buried.sequence, reachMs))) throw unfinished();
  if (!(await erase(shelf, store))) throw unfinished();
  return buried.tombstone;
}

/** Forgets what has expired and erases what was buried; for views that are open. */
export async function tend(shelf: Shelf, store: Store, now: Date): Promise<void> {
  for (const { id, sequence } of shelf.queries.expired(now.toISOString(), expiredAtOnce)) {
    const facts = shelf.queries.get(id)?.facts;
    if (!facts) continue;
    const buried = await bury(facts, sequence, { store, by: "service:memory", now });
    await shelf.view.reach(buried.sequence, reachMs);
  }
  await erase(shelf, store);
}

async function bury(
  entry: Omit<StoredEntry, "text" | "type">,
  sequence: number,
  { store, by, now }: { store: Store; by: string; now: Date },
): Promise<{ tombstone: Tombstone; sequence: number }> {
  const { id, owner, supersedes, valid_from, kind, trust, created_at, intent_id, job_id } = entry;
  const tombstone: Tombstone = {
    ...{ type: "forgotten", id, owner, supersedes, superseded_at: valid_from },
    ...{ forgotten_at: now.toISOString(), forgotten_by: by },
    entry: { sequence, kind, trust, created_at, intent_id, job_id },
  };
  try {
    return { tombstone, sequence: await store.bury(tombstone, sequence) };
  } catch (error) {
    if (!(error instanceof RevisionConflict)) throw error;
    const found = await store.find(id);
    if (found?.record.type !== "forgotten") throw error;
    return { tombstone: found.record, sequence: found.sequence }; // somebody else was first
  }
}

/** Whether nothing that is forgotten is left anywhere. */
async function erase(shelf: Shelf, store: Store): Promise<boolean> {
  const left = shelf.queries.unerased();
  if (left.length === 0) return true;
  for (const { sequence } of left) await store.erase(sequence);
  // A read that is going on keeps the log from being cut; it lasts some milliseconds.
  for (let tries = 0; !(await shelf.scrub()); tries++) {
    if (tries === scrubTries) return false;
    await setTimeout(25);
  }
  for (const { id } of left) shelf.queries.erased(id);
  return true;
}

function unfinished(): ProblemError {
  return new ProblemError("unavailable", {
    detail: "it is forgotten, but not everything is erased yet: ask again",
    retry_after_ms: 1000,
  });
}
