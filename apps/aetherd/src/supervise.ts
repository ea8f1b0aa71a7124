// One process kept running: when it ends it is started again after a pause that doubles from 100 ms to 5 s and falls back
// once it has lived a while. It has a session of its own, so that a Ctrl-C at our terminal is not its; the order in which
// processes end is ours alone. What it prints goes to a file.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "@aether/telemetry";
import type { Account } from "./account.ts";

const firstPauseMs = 100;
const longestPauseMs = 5_000;
/** Who lived this long begins again with the shortest pause. */
const steadyMs = 10_000;
const lastWordsBytes = 2_000;

export interface ProcessSpec {
  name: string;
  command: string;
  /** An open descriptor of the program, for an account that may not pass through the folders above it. */
  programFd?: number;
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  /** Whom it runs as; our own user where null. */
  account: Account | null;
  /** File that takes its standard output and error. */
  outputFile: string;
  /** How long it may take to end when asked; then it is killed. */
  stopMs: number;
  /** Its first start's standard input ends when this settles; without one, and later, it is empty. */
  gate?: Promise<unknown>;
}

/** How a process ended, with the last lines it printed. */
interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  lastWords: string;
}

export interface Supervised {
  readonly name: string;
  readonly pid: number | null;
  readonly restarts: number;
  /** Null while it runs, or never did. */
  readonly lastEnding: Ending | null;
  /** Kills it; it is started again like after any other end. */
  kill(): void;
  /** Ends it for good, within its time. */
  stop(): Promise<void>;
}

export interface SuperviseHooks {
  log: Logger;
  /** After each end and each start but the first. */
  onChange(): void;
}

/** Starts the process and keeps it running until it is stopped. */
export function supervise(spec: ProcessSpec, hooks: SuperviseHooks): Supervised {
  const { log } = hooks;
  let child: ChildProcess | null = null;
  let ended: Promise<void> = Promise.resolve();
  let isStopping = false;
  let restarts = -1;
  let pauseMs = firstPauseMs;
  let lastEnding: Ending | null = null;
  let timer: NodeJS.Timeout | undefined;

  const start = (): void => {
    restarts++;
    const startedAt = performance.now();
    const running = run(spec, restarts === 0 && spec.gate !== undefined ? "pipe" : "ignore");
    child = running.child;
    openGate(child, spec.gate);
    log.info({ process: spec.name, child: child.pid, restarts }, "started");
    ended = running.ended.then((ending) => {
      child = null;
      lastEnding = ending;
      if (isStopping) {
        log.info({ process: spec.name, code: ending.code, signal: ending.signal }, "ended");
      } else {
        if (performance.now() - startedAt > steadyMs) pauseMs = firstPauseMs;
        log.error({ process: spec.name, ...ending, pause_ms: pauseMs }, "ended unasked, starting it again");
        timer = setTimeout(start, pauseMs);
        pauseMs = Math.min(longestPauseMs, pauseMs * 2);
      }
      hooks.onChange();
    });
    if (restarts > 0) hooks.onChange();
  };

  start();
  return {
    name: spec.name,
    get pid() {
      return child?.pid ?? null;
    },
    get restarts() {
      return restarts;
    },
    get lastEnding() {
      return lastEnding;
    },
    kill: () => void child?.kill("SIGKILL"),
    async stop() {
      isStopping = true;
      clearTimeout(timer);
      child?.kill("SIGTERM");
      const limit = new AbortController();
      const late = delay(spec.stopMs, true, { signal: limit.signal }).catch(() => false);
      if (await Promise.race([ended.then(() => false), late])) {
        log.warn({ process: spec.name }, "does not end in its time and is killed");
        child?.kill("SIGKILL");
        await ended;
      }
      limit.abort();
    },
  };
}

function run(spec: ProcessSpec, stdin: "pipe" | "ignore"): { child: ChildProcess; ended: Promise<Ending> } {
  const output = openSync(spec.outputFile, "a+", 0o640);
  const from = fstatSync(output).size;
  const byPath = spec.programFd === undefined;
  const child = spawn(byPath ? spec.command : "/proc/self/fd/3", [...spec.args], {
    argv0: spec.command,
    cwd: "/",
    env: { ...spec.env },
    stdio: [stdin, output, output, ...(byPath ? [] : [spec.programFd])],
    detached: true,
    ...(spec.account && { uid: spec.account.uid, gid: spec.account.gid }),
  });
  const { promise, resolve } = Promise.withResolvers<Ending>();
  const end = (code: number | null, signal: NodeJS.Signals | null, words?: string) => {
    resolve({ code, signal, lastWords: words ?? readLastWords(output, from) });
    closeSync(output);
  };
  child.once("exit", (code, signal) => end(code, signal));
  child.once("error", (error) => {
    if (child.pid === undefined) end(null, null, error.message);
  });
  return { child, ended: promise };
}

function openGate({ stdin }: ChildProcess, gate: Promise<unknown> | undefined): void {
  if (!stdin) return;
  // It may end before it reads.
  stdin.on("error", () => {});
  const open = () => void stdin.end();
  gate?.then(open, open);
}

function readLastWords(output: number, from: number): string {
  const { size } = fstatSync(output);
  const buffer = Buffer.alloc(Math.min(lastWordsBytes, size - from));
  readSync(output, buffer, 0, buffer.length, size - buffer.length);
  return buffer.toString("utf8");
}
