// Who is alive. A worker incarnation renews its entry in KV `workers`; every jobs instance follows the bucket and counts
// silence on its own monotonic clock, from when it last saw a new heartbeat. Wall clocks are never compared, and after a
// start or a reconnect everybody has the full time again: silence that this observer could not hear is not counted.
//
// An incarnation is gone when it is silent for too long, when it has left, or when a newer one of its host has come (which
// first ends whatever its predecessor still ran). Gone is for ever: its entry is removed, and a late renewal is refused.
import { type Bus, openBucket, RevisionConflict, startTail, streamState } from "@aether/bus";
import { Capacity, limits, ProblemError } from "@aether/contracts";
import { z } from "zod";

const WorkerEntry = z.object({
  host: z.string(),
  incarnation: z.string(),
  beat: z.int(),
  capacity: Capacity,
  pools: z.array(z.string()),
  drivers: z.array(z.string()),
  degraded: z.string().nullable(),
});
type WorkerEntry = z.infer<typeof WorkerEntry>;

export interface Leases extends AsyncDisposable {
  /** Stores a heartbeat; throws `conflict` when this incarnation is gone. False when a newer one has been stored already. */
  renew(entry: WorkerEntry): Promise<boolean>;
  /** Takes an incarnation off; nothing that it held counts as held any more. */
  remove(incarnation: string): Promise<void>;
  /** Takes off an incarnation that nobody has heard since this observer did; false when somebody has. */
  removeSilent(incarnation: string): Promise<boolean>;
  /** Whether an incarnation was taken off, or has not been there for too long; the truth has the last word. */
  isGone(incarnation: string): Promise<boolean>;
  /** Incarnations that this observer has not heard of for too long. */
  silent(): string[];
  workers(): WorkerEntry[];
}

interface Seen {
  entry: WorkerEntry;
  revision: number;
  heardAt: number;
}

const triesMax = 20;

export async function openLeases(
  bus: Bus,
  clock: { monotonicMs(): number },
  onChange: () => void,
  goneAfterMs: number = limits.workerGoneMs,
): Promise<Leases> {
  const bucket = openBucket(bus, "workers", WorkerEntry);
  const seen = new Map<string, Seen>();
  const firstMissed = new Map<string, number>();
  let reconnects = bus.reconnects;
  const caughtUp = Promise.withResolvers<void>();
  const { lastSequence } = await streamState(bus, "KV_workers");
  if (lastSequence === 0) caughtUp.resolve();

  const tail = startTail(bus, {
    stream: "KV_workers",
    subject: "$KV.workers.>",
    from: 1,
    onMessages(messages) {
      for (const message of messages) {
        const incarnation = message.subject.slice("$KV.workers.".length);
        if (message.data) {
          seen.set(incarnation, {
            entry: WorkerEntry.parse(JSON.parse(new TextDecoder().decode(message.data))),
            revision: message.sequence,
            heardAt: clock.monotonicMs(),
          });
          firstMissed.delete(incarnation);
        } else {
          seen.delete(incarnation);
          firstMissed.set(incarnation, Number.NEGATIVE_INFINITY);
        }
      }
      caughtUp.resolve();
      onChange();
    },
  });
  const timer = setTimeout(() => caughtUp.resolve(), 2_000);
  await caughtUp.promise;
  clearTimeout(timer);

  /** After a reconnect the silence so far was this observer's own. */
  function forgive(): void {
    if (bus.connected && bus.reconnects === reconnects) return;
    reconnects = bus.reconnects;
    for (const worker of seen.values()) worker.heardAt = clock.monotonicMs();
    for (const [incarnation, since] of firstMissed)
      if (since !== Number.NEGATIVE_INFINITY) firstMissed.set(incarnation, clock.monotonicMs());
  }

  async function remove(incarnation: string): Promise<void> {
    for (let tries = 0; tries < triesMax; tries++) {
      const entry = await bucket.get(incarnation);
      if (!entry || (await removeRevision(incarnation, entry.revision))) return;
    }
    throw new ProblemError("unavailable", { detail: "the lease changes too often right now", retry_after_ms: 200 });
  }

  async function removeRevision(incarnation: string, revision: number): Promise<boolean> {
    try {
      await bucket.remove(incarnation, revision);
      return true;
    } catch (error) {
      if (error instanceof RevisionConflict) return false;
      throw error;
    }
  }

  async function supersede(entry: WorkerEntry): Promise<void> {
    for (const { entry: other } of seen.values()) {
      if (other.host === entry.host && other.incarnation !== entry.incarnation) await remove(other.incarnation);
    }
  }

  /** One try; null when somebody else wrote in between. */
  async function renewOnce(entry: WorkerEntry): Promise<boolean | null> {
    const current = await bucket.get(entry.incarnation);
    if (current && entry.beat < current.value.beat) return false;
    if (!current && entry.beat > 1)
      throw new ProblemError("conflict", { detail: "this incarnation is gone; start a new one" });
    try {
      // A heartbeat that is sent again is stored again: its sender counts from this sending, so must all who listen.
      if (current) await bucket.update(entry.incarnation, entry, current.revision);
      else {
        await supersede(entry);
        await bucket.create(entry.incarnation, entry);
      }
      return true;
    } catch (error) {
      if (error instanceof RevisionConflict) return null;
      throw error;
    }
  }

  return {
    async renew(entry) {
      for (let tries = 0; tries < triesMax; tries++) {
        const renewed = await renewOnce(entry);
        if (renewed !== null) return renewed;
      }
      throw new ProblemError("unavailable", { detail: "the lease changes too often right now", retry_after_ms: 200 });
    },
    remove,
    async removeSilent(incarnation) {
      const worker = seen.get(incarnation);
      // What this observer heard last must still be the newest: the silence may have been its own, of a process that stood.
      return worker !== undefined && (await removeRevision(incarnation, worker.revision));
    },
    async isGone(incarnation) {
      forgive();
      if (seen.has(incarnation)) return false;
      const now = clock.monotonicMs();
      const since = firstMissed.get(incarnation) ?? now;
      firstMissed.set(incarnation, since);
      return bus.connected && now - since > goneAfterMs && (await bucket.get(incarnation)) === null;
    },
    silent() {
      forgive();
      if (!bus.connected) return [];
      const now = clock.monotonicMs();
      return [...seen.values()]
        .filter((worker) => now - worker.heardAt > goneAfterMs)
        .map((worker) => worker.entry.incarnation);
    },
    workers: () => [...seen.values()].map((worker) => worker.entry),
    [Symbol.asyncDispose]: () => tail[Symbol.asyncDispose](),
  };
}
