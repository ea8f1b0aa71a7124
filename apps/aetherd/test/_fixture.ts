// An aetherd of its own in a temporary home: started as a person starts it, ended like that too.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, createClient, createUnixTransport } from "@aether/client";
import { type Layout, resolveLayout } from "@aether/contracts";
import { reapIncarnations } from "@aether/sandbox";
import { tempDir, waitFor } from "@aether/testkit";
import { workerRunDir } from "../src/folders.ts";
import { findMarked } from "../src/leftovers.ts";
import { instanceOf } from "../src/programs.ts";
import { type DaemonState, readState } from "../src/state.ts";

export const mainFile = join(import.meta.dirname, "../src/main.ts");

export interface Home extends AsyncDisposable {
  readonly layout: Layout;
  readonly client: Client;
  /** Starts a daemon and waits until it says that it is up. */
  start(options?: SpawnOptions): Promise<Daemon>;
  /** Starts a daemon that is expected to end by itself. */
  run(args?: string[], options?: SpawnOptions): Promise<{ code: number | null; output: string; stdout: string }>;
  state(): DaemonState;
  pidOf(name: string): number;
  /** Processes that belong to this home, whoever started them. */
  processes(): number[];
}

interface SpawnOptions {
  env?: Record<string, string>;
  uid?: number;
}

export interface Daemon {
  readonly process: ChildProcess;
  readonly output: () => string;
  end(signal: "SIGTERM" | "SIGKILL" | "SIGINT"): Promise<number | null>;
}

/** A fresh home; disposing it ends what runs there and says when something outlived its daemon. */
export function openHome(path?: string): Home {
  const folder = path === undefined ? tempDir() : { path, [Symbol.dispose]() {} };
  const layout = resolveLayout({ uid: 0, env: {}, home: folder.path });
  const daemons = new Set<Daemon>();
  const spawnMain = (args: string[], options: SpawnOptions) =>
    spawn(process.execPath, [mainFile, ...args, "--home", folder.path], {
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
      ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
    });
  const home: Home = {
    layout,
    client: createClient(createUnixTransport(layout.socket)),
    async start(options = {}) {
      const daemon = follow(spawnMain([], options));
      daemons.add(daemon);
      await waitFor(
        "aetherd to be up",
        () => {
          if (daemon.process.exitCode !== null) throw new Error(`aetherd ended: ${daemon.output()}`);
          return daemon.output().includes(`aether is up: ${layout.socket}\n`);
        },
        30_000,
      );
      return daemon;
    },
    async run(args = [], options = {}) {
      const child = spawnMain(args, options);
      const daemon = follow(child);
      let stdout = "";
      child.stdout?.on("data", (chunk: Buffer) => {
        stdout += chunk;
      });
      await once(child, "close");
      return { code: child.exitCode, output: daemon.output(), stdout };
    },
    state() {
      const state = readState(layout);
      if (!state) throw new Error("there is no state file");
      return state;
    },
    pidOf(name) {
      const pid = home.state().processes.find((entry) => entry.name === name)?.pid;
      if (pid === null || pid === undefined) throw new Error(`${name} does not run`);
      return pid;
    },
    processes: () => findMarked(layout.runDir),
    async [Symbol.asyncDispose]() {
      for (const daemon of daemons) await daemon.end("SIGTERM");
      const left = home.processes();
      for (const pid of left) process.kill(pid, "SIGKILL");
      await reap(layout);
      folder[Symbol.dispose]();
      if (left.length > 0) throw new Error(`${left.length} processes outlived their aetherd`);
    },
  };
  return home;
}

/** A worker that was killed leaves its sandboxes to its next incarnation; here there is none. */
async function reap(layout: Layout): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const places = { stateDir: layout.jobsDir, runDir: workerRunDir(layout) };
  await reapIncarnations({ ...places, instance: instanceOf(layout), incarnation: "none" });
}

function follow(child: ChildProcess): Daemon {
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      output += chunk;
    });
  }
  return {
    process: child,
    output: () => output,
    async end(signal) {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const ended = once(child, "exit");
      child.kill(signal);
      await ended;
      return child.exitCode;
    },
  };
}

/** Whether it still runs; who is dead and not yet waited for does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** The real and effective users of a process: all the same where nothing can be had back. */
export function uidsOf(pid: number): number[] {
  const line = /^Uid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
  return [...new Set(line.split("\t").map(Number))];
}

/** Names under a folder whose path holds this text. */
export function namesWith(folder: string, text: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.includes(text)) : [];
}
