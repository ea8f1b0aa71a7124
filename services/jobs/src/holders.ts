// Who holds what of which quota: KV `holders`, one record per principal with a place for each of his jobs that has not ended,
// and every change of it one compare-and-set in which the limits are checked. So however many ask at once, of however many
// instances, no more is given than there is.
//
// Changes that come while a write is under way share the next one, in their order. A refusal is made of a record that was read
// for it. What is no longer needed is given back behind the change of the job's record; what a crash leaves in between, the
// reconciler puts right (holder-check.ts).
import { type Bus, type Entry, openBucket, openMirror, RevisionConflict } from "@aether/bus";
import { ProblemError, type QuotaLimits } from "@aether/contracts";
import {
  count,
  fits,
  Holders,
  isRunning,
  nextPlace,
  nothing,
  type Place,
  placeOf,
  type Refusal,
  type Room,
  refuseJob,
  roomOf,
  type Usage,
  usageOf,
} from "./holding.ts";
import type { StoredJob } from "./job.ts";
import { keyOf, type Quotas } from "./quotas.ts";
import { isStoreFull } from "./store.ts";

export interface HolderBook extends AsyncDisposable {
  /** Takes a place for a job that is to be stored; answers why not where there is no room. */
  take(job: StoredJob): Promise<Refusal | null>;
  /** Takes what the next attempt of a queued job needs; false where there is no room for it now. */
  start(job: StoredJob): Promise<boolean>;
  /** Lets the place follow the record: called with every change of a job, answers nobody and never fails. */
  follow(job: StoredJob): void;
  /** Makes the place what the record says, whatever it was; with null there is no such job. */
  repair(owner: string, id: string, job: StoredJob | null): Promise<void>;
  usageOf(owner: string): Usage;
  /** Everybody's places, as far as this instance knows. */
  all(): Iterable<Holders>;
}

export interface HolderOptions {
  bus: Bus;
  quotas: Pick<Quotas, "limitsOf" | "watch">;
  /** Told how much room an owner has for jobs to start, whenever that may have changed. */
  onRoom(owner: string, room: Room | null): void;
}

interface Places {
  get(id: string): Place | undefined;
  set(id: string, place: Place | null): void;
  readonly usage: Usage;
}

interface Pending {
  /** Applies it to the places; true where it was refused, which must not be said of a record that may be old. */
  apply(places: Places): boolean;
  settle(error: unknown): void;
}

const triesMax = 30;
const failuresMax = 3;
/** How long what nobody waits for may wait for another's write. */
const unhurriedMs = 50;

/** Opens the records; resolves when they are known. */
export async function openHolders({ bus, quotas, onRoom }: HolderOptions): Promise<HolderBook> {
  const { limitsOf } = quotas;
  const bucket = openBucket(bus, "holders", Holders);
  const tellRoom = (holders: Holders) => onRoom(holders.owner, roomOf(usageOf(holders), limitsOf(holders.owner)));
  const mirror = await openMirror(bus, "holders", Holders, (holders) => holders && tellRoom(holders));
  quotas.watch(() => {
    for (const [, { value }] of mirror.entries()) tellRoom(value);
  });
  const waiting = new Map<string, Pending[]>();
  const writing = new Map<string, Promise<void>>();
  const later = new Map<string, NodeJS.Timeout>();
  const isLimited = (owner: string) => roomOf(nothing, limitsOf(owner)) !== null;

  /** Applies a change with the next write; one that is in no hurry goes with another's, for a while. */
  function change<T>(
    owner: string,
    apply: (places: Places) => T,
    { isRefused = () => false, isUrgent = true }: { isRefused?: (result: T) => boolean; isUrgent?: boolean } = {},
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let result: T;
    const pending: Pending = {
      apply(places) {
        result = apply(places);
        return isRefused(result);
      },
      settle: (error) => (error === null ? resolve(result) : reject(error)),
    };
    const others = waiting.get(owner);
    if (others) others.push(pending);
    else waiting.set(owner, [pending]);
    if (isUrgent) begin(owner);
    else if (!writing.has(owner) && !later.has(owner)) later.set(owner, setTimeout(begin, unhurriedMs, owner));
    return promise;
  }

  function begin(owner: string): void {
    clearTimeout(later.get(owner));
    later.delete(owner);
    if (!writing.has(owner)) writing.set(owner, drain(owner));
  }

  async function drain(owner: string): Promise<void> {
    for (let batch = waiting.get(owner); batch; batch = waiting.get(owner)) {
      waiting.delete(owner);
      const error = await write(owner, batch).then(
        () => null,
        (failed: unknown) => failed ?? new Error("the holders could not be written"),
      );
      for (const pending of batch) pending.settle(error);
    }
    writing.delete(owner); // in the same turn as the last look: what comes next begins anew
  }

  /** Applies the changes to the newest record and stores it; decided anew on whatever it is by then. */
  async function write(owner: string, batch: readonly Pending[]): Promise<void> {
    const key = keyOf(owner);
    let entry = mirror.get(key);
    let isFresh = false;
    for (let tries = 0, failures = 0; tries < triesMax; tries++) {
      const places = openPlaces(owner, entry?.value ?? null);
      const isRefused = batch.map((pending) => pending.apply(places)).includes(true);
      if (isRefused && !isFresh) {
        entry = await read(key);
        isFresh = true;
        continue;
      }
      const value = places.changed();
      if (!value) return;
      try {
        const revision = await (entry ? bucket.update(key, value, entry.revision) : bucket.create(key, value));
        mirror.learn(key, { value, revision });
        return;
      } catch (error) {
        if (!(error instanceof RevisionConflict) && ++failures >= failuresMax) throw toProblem(error);
        entry = await read(key);
        isFresh = true;
      }
    }
    throw new ProblemError("unavailable", {
      detail: "the quota is asked for too often right now",
      retry_after_ms: 200,
    });
  }

  async function read(key: string): Promise<Entry<Holders> | null> {
    const entry = await bucket.get(key);
    if (entry) mirror.learn(key, entry);
    return entry;
  }

  return {
    take: (job) =>
      change(
        job.owner,
        (places) => {
          const place = placeOf(job);
          if (!place || places.get(job.id)) return null;
          const refusal = refuseJob(place, places.usage, limitsOf(job.owner));
          if (!refusal) places.set(job.id, place);
          return refusal;
        },
        { isRefused: (refusal) => refusal !== null },
      ),
    async start(job) {
      // Where nothing limits what runs there is nothing to wait for: the place follows the record.
      if (!isLimited(job.owner)) return true;
      return change(job.owner, (places) => startIn(places, job, limitsOf(job.owner)), { isRefused: (done) => !done });
    },
    follow(job) {
      const place = placeOf(job);
      const apply = (places: Places) => {
        const held = places.get(job.id);
        if (held && (!place || held[0] < place[0])) places.set(job.id, place);
      };
      change(job.owner, apply, { isUrgent: isLimited(job.owner) }).catch((error: unknown) =>
        bus.log.warn({ err: error, job_id: job.id }, "a place is left for the reconciler"),
      );
    },
    repair: (owner, id, job) => change(owner, (places) => places.set(id, job && placeOf(job))),
    usageOf: (owner) => usageOf(mirror.get(keyOf(owner))?.value ?? null),
    *all() {
      for (const [, { value }] of mirror.entries()) yield value;
    },
    async [Symbol.asyncDispose]() {
      for (const owner of later.keys()) begin(owner);
      await Promise.all(writing.values());
      await mirror[Symbol.asyncDispose]();
    },
  };
}

/** Gives a queued job what its next attempt needs; false where there is no room. */
function startIn(places: Places, job: StoredJob, limits: QuotaLimits): boolean {
  const place = nextPlace(job);
  const [step, cpusMilli, memoryBytes] = place;
  const held = places.get(job.id);
  const isCounted = held !== undefined && (isRunning(held) || held[0] > step);
  if (!isCounted && !fits({ cpusMilli, memoryBytes }, roomOf(places.usage, limits))) return false;
  if (!held || held[0] < step) places.set(job.id, place);
  return true;
}

/** A copy of a record to apply changes to, with its usage kept along. */
function openPlaces(owner: string, holders: Holders | null): Places & { changed(): Holders | null } {
  const jobs = new Map(Object.entries(holders?.jobs ?? {}));
  const usage = usageOf(holders);
  let isChanged = false;
  return {
    usage,
    get: (id) => jobs.get(id),
    set(id, place) {
      const before = jobs.get(id);
      if (String(before ?? null) === String(place)) return;
      if (before) count(usage, before, -1);
      if (place) count(usage, place, 1);
      if (place) jobs.set(id, place);
      else jobs.delete(id);
      isChanged = true;
    },
    changed: () => (isChanged ? { owner, jobs: Object.fromEntries(jobs) } : null),
  };
}

function toProblem(error: unknown): unknown {
  if (error instanceof ProblemError) return error;
  if (isStoreFull(error)) return new ProblemError("storage-full", {}, { cause: error });
  const detail = "the store did not answer in time";
  return new ProblemError("unavailable", { detail, retry_after_ms: 1000 }, { cause: error });
}
