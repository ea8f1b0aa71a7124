// Job records as the jobs service writes them, transition by transition.
import { type Bus, openBucket } from "@aether/bus";
import { z } from "zod";

/** What every job here goes through. */
export const path = ["queued", "starting", "running", "succeeded"];

/** Writes the next transition of a job each time it is asked, as the jobs service does. */
export function writer(bus: Bus) {
  const bucket = openBucket(bus, "jobs", z.unknown());
  const transitions = new Map<string, object[]>();
  const revisions = new Map<string, number[]>();
  return {
    revisions,
    async next(id: string): Promise<void> {
      const [before = [], written = []] = [transitions.get(id), revisions.get(id)];
      const after = written.at(-1) ?? 0;
      const at = new Date().toISOString();
      const step = {
        from: path[before.length - 1] ?? null,
        to: path[before.length],
        reason: null,
        attempt: 1,
        at,
        after,
      };
      const record = { id, owner: "user:1000", intent_id: null, transitions: [...before, step] };
      const revision = await (after === 0 ? bucket.create(id, record) : bucket.update(id, record, after));
      transitions.set(id, record.transitions);
      revisions.set(id, [...written, revision]);
    },
  };
}
