// What is held, held against the jobs there are: a place whose job has ended or never came is given back, a job without its
// place gets one. It looks at views and mends by the truth, and only what two looks in a row have found: what one of them
// finds is as a rule on its way.
import type { HolderBook } from "./holders.ts";
import { isRunning, type Place } from "./holding.ts";
import type { JobIndex } from "./index-view.ts";
import type { Store } from "./store.ts";

export interface HolderCheckParts {
  store: Pick<Store, "get">;
  index: Pick<JobIndex, "open">;
  holders: Pick<HolderBook, "all" | "repair">;
  clock: { monotonicMs(): number };
}

export interface HolderCheck {
  look(): Promise<void>;
}

interface Doubt {
  id: string;
  owner: string;
  /** What was found; another finding is another doubt. */
  finding: string;
  since: number;
}

const triesMax = 5;

/** Creates a check that gives up places without a job after `patienceMs`. */
export function createHolderCheck(parts: HolderCheckParts, patienceMs: number): HolderCheck {
  let doubts = new Map<string, Doubt>();
  return {
    async look() {
      const now = parts.clock.monotonicMs();
      const found = new Map<string, Doubt>();
      for (const { id, owner, finding } of compare(parts)) {
        const known = doubts.get(id);
        const since = known?.finding === finding ? known.since : now;
        found.set(id, { id, owner, finding, since });
      }
      doubts = found;
      for (const { id, owner, since } of found.values()) {
        if (since === now) continue;
        const isThere = (await parts.store.get(id)) !== null;
        if (isThere || now - since >= patienceMs) await settlePlace(parts, id, owner);
      }
    },
  };
}

/** Makes the place of a job what its record says, and again where that has changed meanwhile. */
export async function settlePlace(
  { store, holders }: { store: Pick<Store, "get">; holders: Pick<HolderBook, "repair"> },
  id: string,
  owner: string,
): Promise<void> {
  let entry = await store.get(id);
  for (let tries = 0; tries < triesMax; tries++) {
    await holders.repair(owner, id, entry?.value ?? null);
    const after = await store.get(id);
    if (after?.revision === entry?.revision) return;
    entry = after;
  }
}

/** Every job of which the records of holders and the view of the jobs tell differently. */
function* compare({ index, holders }: HolderCheckParts): Iterable<Omit<Doubt, "since">> {
  const open = new Map(index.open().map((job) => [job.id, job]));
  const runs = (state: string) => state === "starting" || state === "running" || state === "stopping";
  for (const { owner, jobs } of holders.all()) {
    for (const [id, place] of Object.entries(jobs)) {
      const job = open.get(id);
      open.delete(id);
      const said = job ? 2 * job.attempt - (runs(job.state) ? 1 : 0) : null;
      if (said !== place[0]) yield { id, owner, finding: describe(place, said) };
    }
  }
  for (const { id, owner } of open.values()) yield { id, owner, finding: "no place" };
}

function describe(place: Place, said: number | null): string {
  return `${isRunning(place) ? "runs" : "waits"} ${place[0]}, ${said ?? "no job"}`;
}
