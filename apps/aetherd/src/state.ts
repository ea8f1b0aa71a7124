// What runs, as a file in the run folder: for `down`, which ends it, and for `doctor`, which looks at it.
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { Layout } from "@aether/contracts";
import { z } from "zod";

export const DaemonState = z.object({
  pid: z.int(),
  version: z.string(),
  started_at: z.string(),
  state: z.enum(["starting", "up", "stopping"]),
  socket: z.string(),
  nats_url: z.string().nullable(),
  nats_monitor: z.string().nullable(),
  processes: z.array(z.object({ name: z.string(), pid: z.int().nullable(), restarts: z.int() })),
});
export type DaemonState = z.infer<typeof DaemonState>;

/** The state, or null where there is none that can be read. */
export function readState(layout: Layout): DaemonState | null {
  try {
    return DaemonState.parse(JSON.parse(readFileSync(layout.stateFile, "utf8")));
  } catch {
    // Missing, half gone or another version's: nobody can be told more than that it is not known.
    return null;
  }
}

/** Replaces the state as a whole. */
export function writeState(layout: Layout, state: DaemonState): void {
  const fresh = `${layout.stateFile}.new`;
  rmSync(fresh, { force: true });
  writeFileSync(fresh, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o644, flag: "wx" });
  renameSync(fresh, layout.stateFile);
}

export function removeState(layout: Layout): void {
  rmSync(layout.stateFile, { force: true });
}
