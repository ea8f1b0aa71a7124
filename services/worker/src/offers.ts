// Offers this host's free capacity to the jobs service and takes what it gives. One offer waits at a time; when capacity
// becomes free a newer, larger offer takes its place. What two offers in flight may give too much waits here until it fits:
// it is `starting`, and nothing of it has executed.
import { type Capacity, type Claim, ProblemError, requireBytes } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";

export interface OfferParts {
  capacity: Capacity;
  /** Room for more disks right now, without those of the jobs that run; null where disks are memory. */
  freeDiskBytes(): number | null;
  claim(free: Capacity, waitMs: number): Promise<Claim[]>;
  /** Runs a claim; resolves when nothing of it is left. */
  run(claim: Claim): Promise<void>;
  /** Whether starting something is covered right now. */
  mayStart(): boolean;
  onGone(why: string): void;
  log: Logger;
}

export interface Offers extends AsyncDisposable {
  readonly free: Capacity;
}

/** Short, because an answer that died with its service is missed only when this time is up. */
const waitMs = 3_000;
const retryMs = 250;

export function startOffers(parts: OfferParts): Offers {
  const free: Capacity = { ...parts.capacity };
  const waiting: Claim[] = [];
  let newest = 0;
  let scheduled = false;
  let ended = false;

  function give(claim: Claim, sign: 1 | -1): void {
    const { cpus, memory } = claim.spec.resources;
    free.cpus = Math.round((free.cpus + sign * (cpus ?? 0)) * 1e6) / 1e6;
    free.memory_bytes += sign * requireBytes(memory ?? 0);
    free.slots += sign;
  }

  function fits(claim: Claim): boolean {
    const { cpus, memory } = claim.spec.resources;
    return free.slots >= 1 && free.cpus >= (cpus ?? 0) && free.memory_bytes >= requireBytes(memory ?? 0);
  }

  function startWaiting(): void {
    for (let next = waiting.findIndex(fits); next >= 0 && !ended; next = waiting.findIndex(fits)) {
      const [claim] = waiting.splice(next, 1);
      if (!claim) return;
      give(claim, -1);
      void parts.run(claim).finally(() => {
        give(claim, 1);
        startWaiting();
        schedule();
      });
    }
  }

  /** Several ends in one turn make one offer. */
  function schedule(): void {
    if (scheduled || ended) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      void offer();
    });
  }

  async function offer(): Promise<void> {
    const mine = ++newest;
    while (mine === newest && !ended) {
      if (free.slots < 1 || free.cpus <= 0 || waiting.length > 0) return; // the end of a job offers again
      try {
        if (!parts.mayStart()) await pause(retryMs);
        else take(await parts.claim({ ...free, disk_bytes: parts.freeDiskBytes() }, waitMs));
      } catch (error) {
        if (error instanceof ProblemError && error.slug === "conflict") return parts.onGone(error.message);
        parts.log.debug({ err: error }, "claim failed, trying again");
        await pause(retryMs);
      }
    }
  }

  function take(claims: Claim[]): void {
    waiting.push(...claims);
    startWaiting();
  }

  schedule();
  return {
    free,
    async [Symbol.asyncDispose]() {
      ended = true;
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
