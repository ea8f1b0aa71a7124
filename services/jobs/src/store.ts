// The truth about jobs: KV `jobs`, one record per job, every change a compare-and-set. A write with an unknown outcome is
// resolved by reading again and deciding anew: the pure changes of job.ts answer null when they have been made already.
import { type Bus, type Entry, openBucket, RevisionConflict } from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import { type At, StoredJob } from "./job.ts";

export interface Store {
  get(id: string): Promise<Entry<StoredJob> | null>;
  /** Stores a new job; where the id exists (a retry of the same submit) answers what is there. */
  create(job: StoredJob): Promise<Entry<StoredJob>>;
  /**
   * Applies a change until it is stored or does not apply, first to `known` where the caller has just read it; answers the
   * record as it then is, and whether this call changed it.
   */
  change(
    id: string,
    apply: (job: StoredJob, at: At) => StoredJob | null,
    known?: Entry<StoredJob>,
  ): Promise<(Entry<StoredJob> & { changed: boolean }) | null>;
  remove(id: string, revision: number): Promise<void>;
}

const triesMax = 20;
const storeFullCodes: readonly unknown[] = [10077, 10047, 10023];

/** Opens the bucket; `onStored` is told of every change that this instance knows to be stored. */
export function openStore(
  bus: Bus,
  clock: { now(): Date },
  onStored: (job: StoredJob, before: StoredJob | null) => void = () => {},
): Store {
  const bucket = openBucket(bus, "jobs", StoredJob);

  return {
    get: (id) => bucket.get(id),

    async create(job) {
      try {
        const revision = await bucket.create(job.id, job);
        onStored(job, null);
        return { value: job, revision };
      } catch (error) {
        if (error instanceof RevisionConflict) {
          const entry = await bucket.get(job.id);
          if (entry) return entry;
        }
        throw toProblem(error);
      }
    },

    async change(id, apply, known) {
      let failure: unknown = null;
      for (let tries = 0; tries < triesMax; tries++) {
        const entry = tries === 0 && known ? known : await bucket.get(id);
        if (!entry) return null;
        const next = apply(entry.value, { now: clock.now(), revision: entry.revision });
        if (!next) return { ...entry, changed: tries > 0 && failure !== null };
        try {
          const revision = await bucket.update(id, next, entry.revision);
          onStored(next, entry.value);
          return { value: next, revision, changed: true };
        } catch (error) {
          if (!(error instanceof RevisionConflict)) failure = error;
          if (failure && tries >= 2) throw toProblem(failure);
        }
      }
      throw new ProblemError("conflict", { detail: "the job changes too often right now" });
    },

    remove: (id, revision) => bucket.remove(id, revision),
  };
}

/** What JetStream says when a stream may not grow. */
export function isStoreFull(error: unknown): boolean {
  return storeFullCodes.includes((error as { code?: unknown } | null)?.code);
}

function toProblem(error: unknown): unknown {
  if (error instanceof ProblemError) return error;
  if (isStoreFull(error)) return new ProblemError("storage-full", {}, { cause: error });
  return new ProblemError("outcome-unknown", { detail: "the store did not answer in time" }, { cause: error });
}
