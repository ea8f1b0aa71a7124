// Hot reload: the owner's policy folder is looked at every second, and what has changed is swapped in when it is valid and not being
// written any more: a file that an editor has emptied, and not filled yet, would forbid nothing.
import { setTimeout as pause } from "node:timers/promises";
import type { Logger } from "@aether/telemetry";
import type { Engine } from "./engine.ts";
import { readPolicyFiles } from "./policy-files.ts";

// Looking is a handful of small reads; change notifications are missing on some file systems and run out on others.
const lookMs = 1000;
/** How long a folder must stay as it is before it is believed. */
const settleMs = 100;

export interface Reload extends Disposable {
  /** Why the newest policies do not answer; null when they do. */
  readonly error: string | null;
}

/** Starts looking for changed policies. */
export function startReload(engine: Engine, ownDir: string | null, log: Logger, lookEveryMs: number = lookMs): Reload {
  const state = { error: null as string | null, version: engine.version };
  const ended = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const look = async () => {
    try {
      const files = await readPolicyFiles(ownDir);
      if (ended.signal.aborted) return;
      if (files.version === engine.version) state.error = null;
      if (files.version === state.version) return;
      await pause(settleMs, undefined, { signal: ended.signal });
      if ((await readPolicyFiles(ownDir)).version !== files.version || ended.signal.aborted) return;
      state.version = files.version;
      const warnings = engine.load(files);
      state.error = null;
      log.info({ policy_version: files.version, warnings }, "policies loaded");
    } catch (error) {
      if (ended.signal.aborted) return;
      const message = error instanceof Error ? error.message : String(error);
      if (state.error !== message) log.error({ err: error }, "changed policies are not valid, the old ones answer");
      state.error = message;
    } finally {
      if (!ended.signal.aborted) schedule();
    }
  };
  const schedule = () => {
    timer = setTimeout(() => void look(), lookEveryMs).unref();
  };
  schedule();
  return {
    get error() {
      return state.error;
    },
    [Symbol.dispose]() {
      ended.abort();
      clearTimeout(timer);
    },
  };
}
