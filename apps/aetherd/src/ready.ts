// Whether Aether is up: asked where a person would ask, at the gateway's socket.

import { setTimeout as delay } from "node:timers/promises";
import { Health } from "@aether/contracts";
import { requestUnix } from "@aether/http";

const pollMs = 25;
const answerMs = 5_000;

/** The health as the gateway tells it, or null where nobody answers. */
export async function readHealth(socketPath: string): Promise<Health | null> {
  try {
    const signal = AbortSignal.timeout(answerMs);
    const { body } = await requestUnix({ socketPath, method: "GET", path: "/v0/health", signal });
    return Health.parse(JSON.parse(Buffer.concat(await body.toArray()).toString("utf8")));
  } catch {
    // Not there yet, ending, or somebody else: in no case is it up.
    return null;
  }
}

/** Waits until every service answers; throws what is missing when the time is up. */
export async function waitUntilUp(socketPath: string, limitMs: number, signal: AbortSignal): Promise<Health> {
  const limit = performance.now() + limitMs;
  for (;;) {
    signal.throwIfAborted();
    const health = await readHealth(socketPath);
    if (health?.services.every(({ up }) => up)) return health;
    if (performance.now() > limit) throw new Error(`not up after ${limitMs / 1000} s: ${describe(health)}`);
    await delay(pollMs, undefined, { signal });
  }
}

function describe(health: Health | null): string {
  const away = health?.services.filter(({ up }) => !up).map(({ name }) => name);
  return away ? `${away.join(" and ")} do not answer` : "the gateway does not answer";
}
