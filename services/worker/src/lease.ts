// This incarnation's lease: a heartbeat that moves the warden's deadline. The deadline counts from when a renewal was *sent*,
// and moves only when it was acknowledged; so whatever happens to this process, the bus or the jobs service, the warden ends
// the tree before anybody may run its jobs again. A renewal waits up to one heartbeat for orders, so orders come at once.
import { limits, ProblemError, type Reply, type Request, type renewWorker } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";

export interface LeaseParts {
  renew(
    input: Pick<Request<typeof renewWorker>, "beat" | "held" | "wait_ms" | "leaving">,
  ): Promise<Reply<typeof renewWorker>>;
  held(): Request<typeof renewWorker>["held"];
  /** Boot clock, milliseconds. */
  bootNowMs(): number;
  writeDeadline(deadlineMs: number): void;
  onOrders(orders: Reply<typeof renewWorker>["orders"]): void;
  /** The lease is over: everything this incarnation runs must die, and it must not go on. */
  onLost(why: string): void;
  log: Logger;
}

export interface Lease extends AsyncDisposable {
  /** Whether starting something is still covered by the deadline. */
  isHeld(): boolean;
}

const retryMs = 200;

/** Renews once, which writes the first deadline, and keeps renewing; rejects when the first renewal is refused. */
export async function startLease(parts: LeaseParts): Promise<Lease> {
  let beat = 0;
  let deadlineMs = 0;
  let ended = false;

  async function renewOnce(waitMs: number): Promise<void> {
    const sentAt = parts.bootNowMs();
    const { orders } = await parts.renew({ beat: beat + 1, held: parts.held(), wait_ms: waitMs, leaving: false });
    beat++; // an unanswered heartbeat is sent again under its number
    deadlineMs = sentAt + limits.wardenDeadlineMs;
    parts.writeDeadline(deadlineMs);
    if (orders.length > 0) parts.onOrders(orders);
  }

  function lose(why: string): void {
    if (ended) return;
    ended = true;
    clearInterval(watch);
    parts.onLost(why);
  }

  const watch = setInterval(() => {
    if (deadlineMs > 0 && parts.bootNowMs() > deadlineMs) lose("the lease could not be renewed in time");
  }, 250);

  async function keep(): Promise<void> {
    let waitMs: number = limits.heartbeatMs;
    while (!ended) {
      try {
        await renewOnce(waitMs);
        waitMs = limits.heartbeatMs;
      } catch (error) {
        if (error instanceof ProblemError && error.slug === "conflict") return lose(error.message);
        parts.log.warn({ err: error }, "renewal failed, trying again");
        waitMs = 0; // the next answer is wanted at once: an instance that stands must not use up the lease
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    }
  }

  await firstRenewal(renewOnce, parts.log);
  const keeping = keep();
  return {
    isHeld: () => !ended && parts.bootNowMs() < deadlineMs,
    async [Symbol.asyncDispose]() {
      ended = true;
      clearInterval(watch);
      await Promise.race([keeping, new Promise((resolve) => setTimeout(resolve, limits.heartbeatMs + 500))]);
    },
  };
}

/** The jobs service may come up after the worker: until it answers, the worker simply has no work. */
async function firstRenewal(renewOnce: (waitMs: number) => Promise<void>, log: Logger): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return await renewOnce(0);
    } catch (error) {
      if (error instanceof ProblemError && error.problem.status < 500) throw error;
      if (tries % 50 === 0) log.warn({ err: error }, "waiting for the jobs service");
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}
