// Those who wait for a job, for work or for an order to come: woken when the view has seen a change, never by polling.

export interface Waiters {
  /** Resolves at the next change of that key, at the time limit, or when the signal aborts. */
  wait(key: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
  wake(key: string): void;
  /** How many keys are waited for. */
  readonly size: number;
}

export function createWaiters(): Waiters {
  const waiting = new Map<string, Set<() => void>>();
  return {
    get size() {
      return waiting.size;
    },
    wait(key, timeoutMs, signal) {
      return new Promise((resolve) => {
        const end = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", end);
          const others = waiting.get(key);
          others?.delete(end);
          if (others?.size === 0) waiting.delete(key);
          resolve();
        };
        const timer = setTimeout(end, timeoutMs);
        if (signal.aborted) return end();
        signal.addEventListener("abort", end, { once: true });
        const set = waiting.get(key) ?? new Set();
        waiting.set(key, set.add(end));
      });
    },
    wake(key) {
      for (const end of [...(waiting.get(key) ?? [])]) end();
    },
  };
}
