// This incarnation's lease: a heartbeat that moves the warden's deadline. The deadline counts from when a renewal was *sent*,
// and moves only when it was acknowledged; so whatever happens to this process, the bus or the jobs service, the warden ends
// the tree before anybody may run its jobs again. A renewal waits up to one heartbeat for orders, so orders come at once.
//
// An instance of jobs that stands still takes its share of the requests and answers none. So an overdue renewal is asked
// again beside itself until one of them is answered: only when every instance stands does the lease run out.
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
/** How long past its wait an answer may be before another one is asked for. */
const overdueMs = 300;

/** Renews once, which writes the first deadline, and keeps renewing; rejects when the first renewal is refused. */
export async function startLease(parts: LeaseParts): Promise<Lease> {
  let beat = 0;
  let deadlineMs = 0;
  const over = new AbortController();

  async function renewOnce(waitMs: number): Promise<void> {
    const ask = async (wait: number) => {
      const sentAt = parts.bootNowMs();
      const { orders } = await parts.renew({ beat: beat + 1, held: parts.held(), wait_ms: wait, leaving: false });
      return { sentAt, orders };
    };
    const { sentAt, orders } = await firstAnswer(waitMs, ask, over.signal);
    beat++; // an unanswered heartbeat is sent again under its number
    deadlineMs = sentAt + limits.wardenDeadlineMs;
    parts.writeDeadline(deadlineMs);
    if (orders.length > 0) parts.onOrders(orders);
  }

  function lose(why: string): void {
    if (over.signal.aborted) return;
    over.abort();
    clearInterval(watch);
    parts.onLost(why);
  }

  const watch = setInterval(() => {
    if (deadlineMs > 0 && parts.bootNowMs() > deadlineMs) lose("the lease could not be renewed in time");
  }, 250);

  async function keep(): Promise<void> {
    let waitMs: number = limits.heartbeatMs;
    while (!over.signal.aborted) {
      try {
        await renewOnce(waitMs);
        waitMs = limits.heartbeatMs;
      } catch (error) {
        if (over.signal.aborted) return;
        if (isGone(error)) return lose(error.message);
        parts.log.warn({ err: error }, "renewal failed, trying again");
        waitMs = 0; // the next answer is wanted at once
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    }
  }

  await firstRenewal(renewOnce, parts.log);
  const keeping = keep();
  return {
    isHeld: () => !over.signal.aborted && parts.bootNowMs() < deadlineMs,
    async [Symbol.asyncDispose]() {
      over.abort();
      clearInterval(watch);
      await keeping;
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

/**
 * Asks, and asks again beside it as long as no answer has come. Rejects when one says that the lease is gone, when all that
 * were asked have failed, and when it is over.
 */
function firstAnswer<T>(waitMs: number, ask: (waitMs: number) => Promise<T>, over: AbortSignal): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const end = () => reject(over.reason);
  over.addEventListener("abort", end, { once: true });
  let open = 0;
  const send = (wait: number): void => {
    open++;
    ask(wait).then(resolve, (error: unknown) => {
      open--;
      if (open === 0 || isGone(error)) reject(error);
    });
  };
  send(waitMs);
  let timer = setTimeout(function again() {
    send(0);
    timer = setTimeout(again, overdueMs);
  }, waitMs + overdueMs);
  return promise.finally(() => {
    clearTimeout(timer);
    over.removeEventListener("abort", end);
  });
}

const isGone = (error: unknown): error is ProblemError => error instanceof ProblemError && error.slug === "conflict";
