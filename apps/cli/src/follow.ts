// A log, followed to its end whatever is restarted meanwhile. The client goes on by itself where a connection broke; what it
// leaves to its caller is a first connection that fails, and for a job that was just accepted that is no different.
import { setTimeout } from "node:timers/promises";
import type { Client } from "@aether/client";
import type { LogFrame } from "@aether/contracts";
import { isAway, patienceMs } from "./patience.ts";

const stepMs = 100;

/** Frames from the first one to `eof`, each once; those that came together are given together. */
export async function* followToEnd(
  client: Client,
  id: string,
  signal: AbortSignal,
): AsyncGenerator<LogFrame[], void, void> {
  let after = 0;
  let giveUpAt = Number.POSITIVE_INFINITY;
  for (;;) {
    try {
      const follow = { follow: true, after, signal, resumeForMs: patienceMs };
      for await (const frames of client.jobs.logBatches(id, follow)) {
        for (const frame of frames) if ("seq" in frame) after = frame.seq;
        yield frames;
      }
      return;
    } catch (error) {
      giveUpAt = Math.min(giveUpAt, performance.now() + patienceMs);
      if (signal.aborted || !isAway(error) || performance.now() > giveUpAt) throw error;
    }
    await setTimeout(stepMs, undefined, { signal });
  }
}
