// How many requests a principal may make: a bucket of tokens for each, of one second's worth, in memory. What operators have
// set jobs tells, at once when it changes; while it does not answer, what was known last holds. A stream counts once.
//
// Operators have no limit until one is set for them by name, and their looks at the system's health are never refused.
import { setTimeout as pause } from "node:timers/promises";
import type { Bus } from "@aether/bus";
import { createId, limitsOf, type Principal, ProblemError, principalName, readRates } from "@aether/contracts";
import type { Registry } from "@aether/telemetry";
import { ask } from "./ask.ts";

export interface Rates extends AsyncDisposable {
  /** Counts a request; throws `too-many-requests` for one too many. */
  admit(principal: Principal): void;
}

/** An instance that dies meanwhile answers nothing: what is set is heard of that much later at most. */
const waitMs = 10_000;
const marginMs = 1000;
const principalsMax = 10_000;
const self: Principal = { type: "Service", id: "gateway", roles: [] };

/** Starts to count, with what is shipped until jobs has told what was set. */
export function startRates(bus: Bus, registry: Registry): Rates {
  const refused = registry.counter("aether.quota.refused", "{request}", "What a quota has refused, by its name");
  const ended = new AbortController();
  const take = createBuckets(() => performance.now());
  let set: ReadonlyMap<string, number> = new Map();

  function rateOf({ roles }: Principal, name: string): number | null {
    if (roles.includes("operator") && !set.has(name)) return null;
    const setFor = (whose: string) => (set.has(whose) ? { requests_per_second: set.get(whose) } : null);
    return limitsOf(name, setFor).requests_per_second;
  }

  async function follow({ signal }: AbortController): Promise<void> {
    for (let revision = 0; !signal.aborted; ) {
      const envelope = { request_id: createId("req"), principal: self };
      const options = { envelope, timeoutMs: waitMs + marginMs, signal };
      try {
        const { reply } = await ask(bus, readRates, { known: revision, wait_ms: waitMs }, options);
        revision = reply.revision;
        set = new Map(Object.entries(reply.rates));
      } catch {
        await pause(marginMs, null, { signal }).catch(() => {});
      }
    }
  }

  const following = follow(ended);
  return {
    admit(principal) {
      const name = principalName(principal);
      const rate = rateOf(principal, name);
      const waitingMs = rate === null ? 0 : take(name, rate);
      if (waitingMs === 0) return;
      refused.add(1, { "aether.quota": "requests_per_second" });
      throw new ProblemError("too-many-requests", {
        detail: `quota requests_per_second: ${rate} are allowed`,
        retry_after_ms: waitingMs,
      });
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      await following;
    },
  };
}

/** Takes a token of a principal's and answers 0; where there is none, the milliseconds until there will be. */
export function createBuckets(now: () => number, most = principalsMax): (name: string, rate: number) => number {
  const known = new Map<string, { tokens: number; at: number }>();
  return (name, rate) => {
    const at = now();
    const full = Math.max(1, rate);
    const before = known.get(name) ?? { tokens: full, at };
    const tokens = Math.min(full, before.tokens + ((at - before.at) / 1000) * rate);
    const isTaken = tokens >= 1;
    known.delete(name); // it goes to the end: the first is who has asked for nothing for the longest
    known.set(name, { tokens: isTaken ? tokens - 1 : tokens, at });
    const [oldest] = known.keys();
    if (known.size > most && oldest !== undefined) known.delete(oldest);
    return isTaken ? 0 : Math.max(1, Math.ceil(((1 - tokens) / rate) * 1000));
  };
}
