// How many requests a principal may make: a bucket of tokens for each, of one second's worth, in memory. What operators have
// set jobs tells, at once when it changes; while it does not answer, what was known last holds. A stream counts once.
import { setTimeout as pause } from "node:timers/promises";
import type { Bus } from "@aether/bus";
import { createId, limitsOf, type Principal, ProblemError, principalName, readRates } from "@aether/contracts";
import type { Registry } from "@aether/telemetry";
import { ask } from "./ask.ts";

export interface Rates extends AsyncDisposable {
  /** Counts a request; throws `too-many-requests` for one too many. */
  admit(principal: Principal): void;
}

interface Tokens {
  left: number;
  at: number;
}

const principalsMax = 10_000;
/** An instance that dies meanwhile answers nothing: what is set is heard of that much later at most. */
const waitMs = 10_000;
const marginMs = 1000;
const self: Principal = { type: "Service", id: "gateway", roles: [] };

/** Starts to count, with what is shipped until jobs has told what was set. */
export function startRates(bus: Bus, registry: Registry, clock = () => performance.now()): Rates {
  const refused = registry.counter("aether.quota.refused", "{request}", "What a quota has refused, by its name");
  const ended = new AbortController();
  const known = new Map<string, Tokens>();
  let set: Readonly<Record<string, number>> = {};

  function rateOf(principal: Principal): number | null {
    const name = principalName(principal);
    const isSet = Object.hasOwn(set, name);
    if (principal.roles.includes("operator") && !isSet) return null;
    const setFor = (whose: string) => (Object.hasOwn(set, whose) ? { requests_per_second: set[whose] ?? null } : null);
    return limitsOf(name, setFor).requests_per_second;
  }

  async function follow({ signal }: AbortController): Promise<void> {
    for (let revision = 0; !signal.aborted; ) {
      const envelope = { request_id: createId("req"), principal: self };
      const options = { envelope, timeoutMs: waitMs + marginMs, signal };
      try {
        ({ revision, rates: set } = (await ask(bus, readRates, { known: revision, wait_ms: waitMs }, options)).reply);
      } catch {
        await pause(marginMs, null, { signal }).catch(() => {});
      }
    }
  }

  const following = follow(ended);
  return {
    admit(principal) {
      const rate = rateOf(principal);
      if (rate === null) return;
      const name = principalName(principal);
      const tokens = refill(known.get(name), rate, clock());
      known.delete(name);
      known.set(name, tokens); // the newest is the last: the first is who has asked for nothing for the longest
      const [oldest] = known.keys();
      if (known.size > principalsMax && oldest !== undefined) known.delete(oldest);
      if (tokens.left >= 1) {
        tokens.left--;
        return;
      }
      refused.add(1, { "aether.quota": "requests_per_second" });
      throw new ProblemError("too-many-requests", {
        detail: `quota requests_per_second: ${rate} are allowed`,
        retry_after_ms: Math.ceil(((1 - tokens.left) / rate) * 1000),
      });
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      await following;
    },
  };
}

/** A second's worth at most, and one request at least. */
function refill(before: Tokens | undefined, rate: number, now: number): Tokens {
  const most = Math.max(1, rate);
  if (!before) return { left: most, at: now };
  return { left: Math.min(most, before.left + ((now - before.at) / 1000) * rate), at: now };
}
