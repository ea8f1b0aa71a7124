// The watch over nats-server. A stream whose disk once failed a write stays frozen until the server starts anew, and a server
// that hangs is no use to anybody: both are seen from its health endpoint, once a second, and end in a restart. While the
// disk stays bad restarts do not help, so the pause between them doubles.
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "@aether/telemetry";
import { httpGet, type NatsServer } from "./nats-server.ts";

const everyMs = 1_000;
const silenceMs = 10_000;
const firstPauseMs = 2_000;
const longestPauseMs = 60_000;

/** What one look found. */
export type Look = { at: number; answer: "sound" | "write-error" | "unready" | "silent" };

export interface WatchState {
  lastAnswerAt: number;
  lastRestartAt: number;
  pauseMs: number;
}

/** Whether this look calls for a restart; keeps `state`. Pure but for that. */
export function judge(state: WatchState, { at, answer }: Look): boolean {
  if (answer !== "silent") state.lastAnswerAt = at;
  if (answer === "sound" && at - state.lastRestartAt > longestPauseMs) state.pauseMs = firstPauseMs;
  const isBad = answer === "write-error" || (answer === "silent" && at - state.lastAnswerAt >= silenceMs);
  if (!isBad || at - state.lastRestartAt < state.pauseMs) return false;
  state.lastRestartAt = at;
  state.lastAnswerAt = at;
  state.pauseMs = Math.min(longestPauseMs, state.pauseMs * 2);
  return true;
}

/** Starts watching. */
export function watchNats(server: NatsServer, log: Logger): AsyncDisposable {
  const ending = new AbortController();
  const state: WatchState = {
    lastAnswerAt: performance.now(),
    lastRestartAt: Number.NEGATIVE_INFINITY,
    pauseMs: firstPauseMs,
  };
  const watching = (async () => {
    while (await sleep(ending.signal)) {
      const { answer, detail } = await look(server);
      if (ending.signal.aborted || !judge(state, { at: performance.now(), answer })) continue;
      log.error({ answer, detail, next_pause_ms: state.pauseMs }, "nats-server is not sound and is started anew");
      server.process.kill();
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      ending.abort();
      await watching;
    },
  };
}

async function look(server: NatsServer): Promise<{ answer: Look["answer"]; detail: string }> {
  try {
    const { status, body } = await httpGet(`${server.monitor}/healthz`, everyMs);
    if (status === 200) return { answer: "sound", detail: "" };
    return { answer: /write error/.test(body) ? "write-error" : "unready", detail: body.slice(0, 500) };
  } catch (error) {
    return { answer: "silent", detail: error instanceof Error ? error.message : String(error) };
  }
}

async function sleep(signal: AbortSignal): Promise<boolean> {
  await delay(everyMs, undefined, { signal }).catch(() => {});
  return !signal.aborted;
}
