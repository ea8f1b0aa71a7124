// aetherd as the command line sees it: starts it, finds the one that runs, waits until it is healthy, ends it.
//
// It is started in a session of its own, so that a Ctrl-C at the terminal reaches this process alone and the end is always
// asked for in one way: SIGTERM to aetherd, which ends what it started. Where it runs is what its state file says; the pid
// there is believed only while it is an aetherd.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Client, createClient, createUnixTransport } from "@aether/client";
import type { Health, Layout } from "@aether/contracts";
import { exitCodes, Failure } from "./failure.ts";
import type { Environment } from "./invocation.ts";
import { isAway } from "./patience.ts";
import { checkout } from "./place.ts";

const program = path.join(checkout, "apps/aetherd/src/main.ts");
const pollMs = 25;
const shownLines = 12;
/** How long services that are up may be degraded before that is taken for how things are. */
const settleMs = 5_000;

export interface Daemon extends Disposable {
  readonly pid: number;
  /** Settles when it has ended, with its exit code or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** What it said, for when it ends early: its own words, then the newest of its log. */
  lastWords(): string[];
}

/** The arguments that run aetherd with this Node. */
export function daemonCommand(args: readonly string[] = []): [command: string, args: string[]] {
  return [process.execPath, [program, ...args]];
}

/** Starts aetherd; it goes on when this process ends. */
export function startDaemon(layout: Layout, env: Environment): Daemon {
  const folder = mkdtempSync(path.join(tmpdir(), "aether-up-"));
  const outputFile = path.join(folder, "output");
  const output = openSync(outputFile, "a", 0o600);
  const [command, args] = daemonCommand();
  const child = spawn(command, args, {
    detached: true,
    stdio: ["ignore", output, output],
    cwd: "/",
    env: { ...env, ...(layout.home !== null && { AETHER_HOME: layout.home }) },
  });
  closeSync(output);
  return {
    pid: child.pid ?? 0,
    ended: endOf(child),
    lastWords: () => {
      const said = lastLines(outputFile);
      return said.length > 0 ? said : lastLogLines(path.join(layout.logDir, "aetherd.jsonl"));
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function endOf(child: ChildProcess): Promise<number | NodeJS.Signals> {
  return new Promise((resolve, reject) => {
    child.once("exit", (code, signal) => resolve(signal ?? code ?? 0));
    child.once("error", reject);
  });
}

/** The pid of the aetherd that serves the layout; null when none does. */
export function findDaemon(layout: Layout): number | null {
  const { pid } = readState(layout);
  return typeof pid === "number" && isDaemon(pid) ? pid : null;
}

/** The processes that it keeps running, `worker (pid 4711)`. */
export function describeProcesses(layout: Layout): string {
  const processes = readState(layout).processes ?? [];
  return processes.map(({ name, pid }) => (pid === null ? `${name} (ended)` : `${name} (pid ${pid})`)).join(", ");
}

interface State {
  pid?: unknown;
  state?: unknown;
  processes?: readonly { name: string; pid: number | null }[];
}

/** What aetherd says of itself; nothing where there is no state, or one that is half gone. */
function readState(layout: Layout): State {
  try {
    return JSON.parse(readFileSync(layout.stateFile, "utf8"));
  } catch {
    return {};
  }
}

function isDaemon(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("aetherd/src/main.ts");
  } catch {
    return false;
  }
}

/** Waits until everything answers; throws Failure when it ends instead, or when the time is up. */
export async function waitUntilHealthy(layout: Layout, daemon: Daemon, withinMs: number): Promise<Health> {
  using transport = createUnixTransport(layout.socket);
  const client = createClient(transport);
  const startedAt = performance.now();
  let end: number | NodeJS.Signals | undefined;
  void daemon.ended.then((code) => {
    end = code;
  });
  let last: Health | null = null;
  let degradedAt: number | undefined;
  for (;;) {
    if (end !== undefined) throw startFailure(`aetherd ended while it started (${end})`, daemon, layout);
    // Until this aetherd says that it is up, whoever answers may be what an earlier one left behind.
    const { pid, state } = readState(layout);
    if (pid === daemon.pid && state === "up") last = (await readHealth(client)) ?? last;
    if (last?.status === "up") return last;
    degradedAt = last?.status === "degraded" ? (degradedAt ?? performance.now()) : undefined;
    if (last && degradedAt !== undefined && performance.now() - degradedAt > settleMs) return last;
    if (performance.now() - startedAt > withinMs) {
      throw startFailure(`aetherd is not healthy after ${withinMs / 1000} s`, daemon, layout, last);
    }
    await setTimeout(pollMs);
  }
}

async function readHealth(client: Client): Promise<Health | null> {
  try {
    return await client.health({ signal: AbortSignal.timeout(3000) });
  } catch (error) {
    if (isAway(error) || (error instanceof Error && error.name === "TimeoutError")) return null;
    throw error;
  }
}

function startFailure(title: string, daemon: Daemon, layout: Layout, health: Health | null = null): Failure {
  const faults = health?.services.flatMap(({ name, up, degraded }) => [
    ...(up ? [] : [`${name} does not answer`]),
    ...degraded.map((why) => `${name}: ${why}`),
  ]);
  return new Failure([title, ...(faults ?? []), ...daemon.lastWords()].join("\n"), {
    exitCode: exitCodes.unavailable,
    next: `\`aether doctor\` says what is missing; the log is in ${layout.logDir}`,
  });
}

/** Ends it and waits until it is gone, with everything that it started; throws Failure when it stays. */
export async function endDaemon(pid: number, withinMs: number): Promise<void> {
  if (!isDaemon(pid)) return;
  signal(pid, "SIGTERM");
  const giveUpAt = performance.now() + withinMs;
  while (isDaemon(pid)) {
    if (performance.now() > giveUpAt) {
      throw new Failure(`aetherd (pid ${pid}) has not ended after ${withinMs / 1000} s`, {
        exitCode: exitCodes.unavailable,
        next: "wait for it, or look into its log",
      });
    }
    await setTimeout(pollMs);
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    if (error.code === "EPERM") {
      throw new Failure(`aetherd (pid ${pid}) is not yours to end`, {
        exitCode: exitCodes.denied,
        next: "run this as the user who started it",
      });
    }
    if (error.code !== "ESRCH") throw error;
  }
}

function lastLines(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\n").filter(Boolean).slice(-shownLines);
  } catch {
    return [];
  }
}

/** The newest warnings and errors of a log, each as its message and its cause. */
function lastLogLines(file: string): string[] {
  return lastLines(file).flatMap((line) => {
    try {
      const entry: { level?: number; msg?: string; err?: { message?: string } } = JSON.parse(line);
      if ((entry.level ?? 0) < 40) return [];
      return [[entry.msg, entry.err?.message].filter(Boolean).join(": ")];
    } catch {
      return [];
    }
  });
}
