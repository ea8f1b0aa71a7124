// What may be over in a moment: a gateway that restarts, a part that is away, a connection that broke.
import { setTimeout } from "node:timers/promises";
import type { Client } from "@aether/client";
import { isTerminal, type Job, ProblemError } from "@aether/contracts";

const stepMs = 100;
const stepMaxMs = 1000;
/** How long a command that waits for a job outlives the services that it asks. */
export const patienceMs = 5 * 60_000;

/** Whether an error says that somebody is away, and not that the answer is no. */
export function isAway(error: unknown): boolean {
  if (error instanceof ProblemError) return error.slug === "unavailable" || error.slug === "outcome-unknown";
  return isBroken(error) || (error instanceof Error && error.name === "ConnectError");
}

/** Whether a connection broke in the middle: what was asked may have happened. */
export function isBroken(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
}

/** Does it again, for a while, as long as it fails for somebody being away; for what may safely be done twice. */
export async function retryWhileAway<T>(act: () => Promise<T>, forMs = patienceMs): Promise<T> {
  const giveUpAt = performance.now() + forMs;
  for (let waitMs = stepMs; ; waitMs = Math.min(2 * waitMs, stepMaxMs)) {
    try {
      return await act();
    } catch (error) {
      if (!isAway(error) || performance.now() > giveUpAt) throw error;
    }
    await setTimeout(waitMs);
  }
}

/** The record of a job once it has ended. The first question must be answered; later ones are repeated for a while. */
export async function waitForEnd(client: Client, id: string): Promise<Job> {
  let job = await client.jobs.get(id);
  while (!isTerminal(job.state)) job = await retryWhileAway(() => client.jobs.get(id, { wait: "50s" }));
  return job;
}
