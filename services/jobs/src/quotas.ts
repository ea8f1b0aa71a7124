// The limits of principals: what is shipped, and KV `quotas`, which holds what operators have set, a record for each principal
// or kind. They are looked up in memory; a change holds in this instance when it is answered, in others a moment later.
import { createHash } from "node:crypto";
import { type Bus, openBucket, openMirror, RevisionConflict } from "@aether/bus";
import { limitsOf, ProblemError, type QuotaLimits, QuotaRecord, type QuotaSetting } from "@aether/contracts";

export interface Quotas extends AsyncDisposable {
  limitsOf(principal: string): QuotaLimits;
  /** What was set for exactly this principal. */
  settingOf(principal: string): QuotaSetting;
  /** Principals and kinds for whom something was set. */
  principals(): string[];
  /** Stores what `change` makes of the setting. */
  change(principal: string, change: (before: QuotaSetting) => QuotaSetting): Promise<void>;
  /** Calls it whenever a limit has changed. */
  watch(told: () => void): void;
  /** Sequence of the newest change. */
  readonly sequence: number;
}

const triesMax = 10;

/** The token of a principal in the keys of buckets. */
export function keyOf(principal: string): string {
  return createHash("sha256").update(principal).digest("hex").slice(0, 32);
}

/** Opens the limits; resolves when they are known. */
export async function openQuotas(bus: Bus): Promise<Quotas> {
  const bucket = openBucket(bus, "quotas", QuotaRecord);
  const watchers = new Set<() => void>();
  const mirror = await openMirror(bus, "quotas", QuotaRecord, () => {
    for (const told of watchers) told();
  });
  const setFor = (principal: string) => mirror.get(keyOf(principal))?.value.set ?? null;

  async function changeOnce(principal: string, change: (before: QuotaSetting) => QuotaSetting): Promise<void> {
    const key = keyOf(principal);
    const known = await bucket.get(key);
    const set = change(known?.value.set ?? {});
    if (JSON.stringify(set) === JSON.stringify(known?.value.set ?? {})) return;
    const value = { principal, set };
    const revision = known ? await bucket.update(key, value, known.revision) : await bucket.create(key, value);
    mirror.learn(key, { value, revision });
  }

  return {
    limitsOf: (principal) => limitsOf(principal, setFor),
    settingOf: (principal) => setFor(principal) ?? {},
    principals: () =>
      [...mirror.entries()].flatMap(([, { value }]) => (Object.keys(value.set).length > 0 ? [value.principal] : [])),
    async change(principal, change) {
      for (let tries = 0; tries < triesMax; tries++) {
        try {
          return await changeOnce(principal, change);
        } catch (error) {
          // Whatever was not answered is settled by reading again: a change that is there already changes nothing.
          if (!(error instanceof RevisionConflict) && tries > 0) throw error;
        }
      }
      throw new ProblemError("conflict", { detail: "the quota changes too often right now" });
    },
    watch: (told) => void watchers.add(told),
    get sequence() {
      return mirror.sequence;
    },
    [Symbol.asyncDispose]: () => mirror[Symbol.asyncDispose](),
  };
}
