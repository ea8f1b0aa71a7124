// The approvals that there are, in memory and in KV `approvals`: found by the act they are about, listed newest first, counted by who
// asks, and waited for. How one changes is `approval.ts`'s matter, and who may change it others'.
import { limits } from "@aether/contracts";
import { actKey, StoredApproval } from "./approval.ts";
import type { Remembered } from "./remembered.ts";
import { openShelf } from "./shelf.ts";

export interface Approvals {
  get(id: string): StoredApproval | undefined;
  /** Sequence of the stored change that made it what it is. */
  revisionOf(id: string): number;
  /** Those about exactly this act of this requester, the newest first. */
  about(act: string): StoredApproval[];
  /** What waits for an answer, of one requester or of all. */
  pending(requester?: string): StoredApproval[];
  newestFirst(): Iterable<StoredApproval>;
  /** The approval as it is from now on; resolves when that is stored. */
  put(approval: StoredApproval): Promise<void>;
  /** Resolves when it is stored as it is now. */
  ensure(id: string): Promise<void>;
  /** Drops what ended long ago, the oldest first where there are too many, and stores what is not stored yet. */
  tidy(now: Date): Promise<void>;
  /** Sequence of the last stored change of any. */
  readonly revision: number;
  /** Resolves when something was stored, or the time is up. */
  changed(timeoutMs: number, signal: AbortSignal): Promise<void>;
}

export function openApprovals(remembered: Remembered): Approvals {
  const waiting = new Set<() => void>();
  const shelf = openShelf(remembered, "apr_", StoredApproval, () => {
    for (const wake of waiting) wake();
  });
  const byAct = createIndex();
  const pendingBy = createIndex();
  /** Ids sort by the time of their making. */
  const order: string[] = [];

  function index(approval: StoredApproval): void {
    const { id, requester, state } = approval;
    byAct.add(actKey(requester.principal, approval), id);
    if (state === "pending") pendingBy.add(requester.principal, id);
    else pendingBy.remove(requester.principal, id);
  }

  async function forget(approval: StoredApproval): Promise<void> {
    const { id, requester } = approval;
    byAct.remove(actKey(requester.principal, approval), id);
    pendingBy.remove(requester.principal, id);
    const at = order.indexOf(id);
    if (at >= 0) order.splice(at, 1);
    await shelf.remove(id);
  }

  const read = (ids: Iterable<string>) => [...ids].flatMap((id) => shelf.get(id) ?? []);
  for (const approval of shelf.values()) {
    index(approval);
    order.push(approval.id);
  }
  order.sort();

  return {
    get: shelf.get,
    revisionOf: shelf.revisionOf,
    ensure: shelf.ensure,
    about: (act) => read([...byAct.of(act)].sort().reverse()),
    pending: (requester) => read(requester === undefined ? pendingBy.all() : pendingBy.of(requester)),
    *newestFirst() {
      for (let at = order.length - 1; at >= 0; at--) {
        const approval = shelf.get(order[at] ?? "");
        if (approval) yield approval;
      }
    },
    put(approval) {
      if (!shelf.get(approval.id)) {
        order.push(approval.id);
        if ((order.at(-2) ?? "") > approval.id) order.sort();
      }
      const stored = shelf.put(approval.id, approval);
      index(approval);
      return stored;
    },
    async tidy(now) {
      const ended = order.flatMap((id) => shelf.get(id) ?? []).filter(isEnded);
      const tooOld = ended.filter((approval) => endedAtMs(approval) < now.getTime() - limits.approvalsKeepMs);
      const tooMany = ended.slice(0, Math.max(0, ended.length - limits.approvalsEndedMax));
      for (const approval of new Set([...tooOld, ...tooMany])) await forget(approval);
      await shelf.settle();
    },
    get revision() {
      return remembered.ledger.sequence;
    },
    changed(timeoutMs, signal) {
      return new Promise((resolve) => {
        const end = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", end);
          waiting.delete(end);
          resolve();
        };
        const timer = setTimeout(end, timeoutMs);
        signal.addEventListener("abort", end, { once: true });
        waiting.add(end);
        if (signal.aborted) end();
      });
    },
  };
}

function isEnded({ state }: StoredApproval): boolean {
  return state !== "pending" && state !== "approved";
}

function endedAtMs({ uses, answered_at, expires_at, state }: StoredApproval): number {
  const at = uses.at(-1)?.at ?? (state === "expired" ? expires_at : answered_at);
  return Date.parse(at ?? expires_at);
}

interface Index {
  add(key: string, id: string): void;
  remove(key: string, id: string): void;
  of(key: string): Iterable<string>;
  all(): Iterable<string>;
}

function createIndex(): Index {
  const sets = new Map<string, Set<string>>();
  return {
    add(key, id) {
      sets.set(key, (sets.get(key) ?? new Set()).add(id));
    },
    remove(key, id) {
      const set = sets.get(key);
      set?.delete(id);
      if (set?.size === 0) sets.delete(key);
    },
    of: (key) => sets.get(key) ?? [],
    *all() {
      for (const set of sets.values()) yield* set;
    },
  };
}
