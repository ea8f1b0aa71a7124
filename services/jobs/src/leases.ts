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
export type WorkerEntry = z.infer<typeof WorkerEntry>;

export interface Leases extends AsyncDisposable {
  /** Stores a heartbeat; throws `conflict` when this incarnation is gone. */
  renew(entry: WorkerEntry): Promise<void>;
  /** Takes an incarnation off; nothing that it held counts as held any more. */
  remove(incarnation: string): Promise<void>;
  isGone(incarnation: string): boolean;
  /** Incarnations that this observer has not heard of for too long. */
  silent(): string[];
  workers(): WorkerEntry[];
}

interface Seen {
  entry: WorkerEntry;
  heardAt: number;
}

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
    const entry = await bucket.get(incarnation);
    if (!entry) return;
    try {
      await bucket.remove(incarnation, entry.revision);
    } catch (error) {
      // A heartbeat came in between: it is heard, and the next look decides anew.
      if (!(error instanceof RevisionConflict)) throw error;
    }
  }

  async function supersede(entry: WorkerEntry): Promise<void> {
    for (const { entry: other } of seen.values()) {
      if (other.host === entry.host && other.incarnation !== entry.incarnation) await remove(other.incarnation);
    }
  }

  return {
    async renew(entry) {
      const current = await bucket.get(entry.incarnation);
      if (!current) {
        if (entry.beat > 1) throw new ProblemError("conflict", { detail: "this incarnation is gone; start a new one" });
        await supersede(entry);
        await bucket.create(entry.incarnation, entry);
        return;
      }
      if (entry.beat > current.value.beat) await bucket.update(entry.incarnation, entry, current.revision);
    },
    remove,
    isGone(incarnation) {
      forgive();
      if (seen.has(incarnation)) return false;
      const now = clock.monotonicMs();
      const since = firstMissed.get(incarnation) ?? now;
      firstMissed.set(incarnation, since);
      return bus.connected && now - since > goneAfterMs;
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
