// The command line as a process of its own, as a person or a script has it, and one installation for a test file.
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";

const main = join(import.meta.dirname, "../src/main.ts");

export interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  input?: string | Uint8Array;
  env?: Record<string, string>;
  /** How bytes become text; latin1 keeps every byte. */
  encoding?: BufferEncoding;
}

export interface Running {
  child: ChildProcess;
  ended: Promise<Result>;
  stdout(): string;
  stderr(): string;
}

/** Why this machine cannot run the whole; null where it can. */
export function missingBackend(): string | null {
  return requireBackend("nats") ?? requireBackend("bubblewrap");
}

/** Starts `aether` with these arguments. */
export function start(args: string[], { input, env = {}, encoding = "utf8" }: RunOptions = {}): Running {
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, ...env } });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  child.stdin.on("error", () => {}); // a command that reads no input closes it
  child.stdin.end(input ?? "");
  const stdout = () => Buffer.concat(out).toString(encoding);
  const stderr = () => Buffer.concat(err).toString(encoding);
  const ended = new Promise<Result>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout: stdout(), stderr: stderr() }));
  });
  return { child, ended, stdout, stderr };
}

/** Runs `aether` to its end. */
export function run(args: string[], options?: RunOptions): Promise<Result> {
  return start(args, options).ended;
}

export interface Installation extends AsyncDisposable {
  home: string;
  run(args: string[], options?: RunOptions): Promise<Result>;
  start(args: string[], options?: RunOptions): Running;
  /** The pid of one of the processes that aetherd keeps. */
  pidOf(name: string): number;
}

/** Starts everything with `aether up -d`, in a home of its own, and with more environment where it is given. */
export async function startInstallation(environment: Record<string, string> = {}): Promise<Installation> {
  const folder = tempDir();
  chmodSync(folder.path, 0o755);
  const home = join(folder.path, "home");
  const within = ({ env, ...rest }: RunOptions = {}) => ({ ...rest, env: { ...env, AETHER_HOME: home } });
  const end = async () => {
    const { code, stderr } = await run(["down"], within());
    if (code !== 0) throw new Error(`aether down failed: ${stderr}`);
    folder[Symbol.dispose]();
  };
  const { code, stderr } = await run(["up", "-d"], within({ env: environment }));
  if (code !== 0) {
    await end();
    throw new Error(`aether up failed: ${stderr}`);
  }
  return {
    home,
    run: (args, options) => run(args, within(options)),
    start: (args, options) => start(args, within(options)),
    pidOf(name) {
      const state: { processes: { name: string; pid: number | null }[] } = JSON.parse(
        readFileSync(join(home, "run/aetherd.json"), "utf8"),
      );
      const pid = state.processes.find((process) => process.name === name)?.pid;
      if (!pid) throw new Error(`${name} is not running`);
      return pid;
    },
    [Symbol.asyncDispose]: end,
  };
}

/** Waits until the process has written a text. */
export async function waitForOutput(running: Running, text: string): Promise<void> {
  await waitFor(`${JSON.stringify(text)} on stdout`, () => running.stdout().includes(text), 20_000);
}

/** The values of NDJSON output. */
export function lines<T>(text: string): T[] {
  return text
    .split("\n")
    .filter(Boolean)
    .map((line): T => JSON.parse(line));
}
