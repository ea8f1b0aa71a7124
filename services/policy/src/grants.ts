// The grants that there are, in memory and in KV `grants`. That one was used is noted at once and stored within a minute: what is lost
// to a crash is a count, never a grant or its end.
import { type DecideRequest, Grant, limits, ProblemError } from "@aether/contracts";
import { covers, createGrantIndex } from "./grant.ts";
import type { Remembered } from "./remembered.ts";
import { openShelf } from "./shelf.ts";

const storeUsesEveryMs = 60_000;

export interface Grants {
  get(id: string): Grant | undefined;
  /** Those that are about this act and have not ended. */
  about(request: DecideRequest, now: Date): Grant[];
  newestFirst(): Grant[];
  /** Throws `conflict` where one more of its kind would be too many. */
  requireRoom(rule: Grant["rule"]): void;
  put(grant: Grant): Promise<void>;
  remove(grant: Grant): Promise<void>;
  used(grant: Grant, now: Date): void;
  /** Drops what has ended and, every minute and at the end, stores how often the others were used. */
  tidy(now: Date, options?: { storeUses: boolean }): Promise<void>;
}

export function openGrants(remembered: Remembered): Grants {
  const shelf = openShelf(remembered, "grt_", Grant);
  const index = createGrantIndex();
  for (const { id, rule } of shelf.values()) index.add(id, rule);
  let storedAt = performance.now();
  const remove = (grant: Grant) => {
    index.remove(grant.id, grant.rule);
    return shelf.remove(grant.id);
  };
  return {
    get: shelf.get,
    about: (request, now) =>
      index.about(request).flatMap((id) => {
        const grant = shelf.get(id);
        return grant && !isOver(grant, now) && covers(grant.rule, request) ? [grant] : [];
      }),
    newestFirst: () => [...shelf.values()].sort((a, b) => (a.id < b.id ? 1 : -1)),
    requireRoom(rule) {
      if (index.like(rule) < limits.grantsPerKind) return;
      const detail = `${rule.principal} has ${limits.grantsPerKind} grants for ${rule.action} already: revoke some`;
      throw new ProblemError("conflict", { detail });
    },
    put(grant) {
      const stored = shelf.put(grant.id, grant);
      index.add(grant.id, grant.rule);
      return stored;
    },
    remove,
    used({ id }, now) {
      const grant = shelf.get(id);
      if (grant) shelf.note(id, { ...grant, uses: grant.uses + 1, last_used_at: now.toISOString() });
    },
    async tidy(now, { storeUses } = { storeUses: performance.now() - storedAt > storeUsesEveryMs }) {
      for (const grant of [...shelf.values()]) if (isOver(grant, now)) await remove(grant);
      if (!storeUses) return;
      storedAt = performance.now();
      await shelf.settle();
    },
  };
}

function isOver({ expires_at }: Grant, now: Date): boolean {
  return Date.parse(expires_at) <= now.getTime();
}
