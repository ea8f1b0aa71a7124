// Starting bwrap so that nothing runs too early and nothing leaks in.
//
// bwrap is started directly, already under the sandbox's uid, and first of all reads its arguments from a pipe. While it
// waits it is moved into its cgroups; only then are the arguments written. It builds the sandbox and waits again, at
// --block-fd, until `release` writes one byte. What happens when this process dies:
//
//   before the arguments   bwrap reads an end of file; without --unshare-all, which comes last in the arguments, it
//                          refuses --hostname and ends
//   before the release     bwrap holds the writing end of its own pipe, so no end of file ever lets the command go; it
//                          dies by --die-with-parent, or with its cgroup
//   after the release      --die-with-parent
//
// The launcher's environment is constant; the job's travels in the arguments and is set by bwrap for the final exec alone.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { closeOnExecAll, createPipe, openBothEnds } from "./native.ts";
import { HOST_NAME } from "./root-file-system.ts";
import type { SeccompFilter } from "./seccomp.ts";

const ARGUMENTS_FD = 3;
const STATUS_FD = 4;
const BLOCK_FD = 5;
const SECCOMP_FD = 6;
const launcherEnvironment = { PATH: "/usr/bin:/bin" };
/** The arguments that name the descriptors below. */
export const descriptorArguments = [
  ...["--json-status-fd", String(STATUS_FD)],
  ...["--block-fd", String(BLOCK_FD)],
  ...["--seccomp", String(SECCOMP_FD)],
];

export interface LaunchOptions {
  bwrap: string;
  seccomp: SeccompFilter;
  /** The uid to run under; null where the caller is not root and has only his own. */
  uid: number | null;
  /** Everything but the command. */
  arguments: readonly string[];
  command: readonly string[];
  stdin: Uint8Array | null;
}

/** How bwrap itself ended, and what it reported of its command. */
export interface LauncherExit {
  code: number | null;
  signal: string | null;
  /** Null when the command was never executed. */
  reportedCode: number | null;
}

/** A started bwrap that waits for its arguments. */
export interface Launched {
  readonly pid: number;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly ended: Promise<LauncherExit>;
  /** Sends the arguments and waits until the sandbox is built; false when bwrap ended instead. */
  build(): Promise<boolean>;
  release(): void;
  /** The command's own process, once it exists. */
  findCommand(): number | null;
  /** Kills bwrap itself, wherever it is by now. */
  kill(): void;
  /** Closes what this process still holds of it. */
  close(): void;
}

export async function launch(options: LaunchOptions): Promise<Launched> {
  using cleanup = new DisposableStack();
  const hold = (fd: number): number => {
    cleanup.defer(() => closeSync(fd));
    return fd;
  };
  const argumentBytes = Buffer.from(options.arguments.map((text) => `${text}\0`).join(""));
  const argumentPipe = createPipe(null, argumentBytes.length);
  const blockPipe = createPipe(null);
  const outPipe = createPipe(options.uid);
  const errorPipe = createPipe(options.uid);
  const child = await spawnBwrap(options, [
    ...[hold(openStdin(options)), hold(outPipe.write), hold(errorPipe.write), hold(argumentPipe.read), "pipe" as const],
    ...[hold(openBothEnds(hold(blockPipe.read))), hold(options.seccomp.open())],
  ]).catch((error: unknown) => {
    for (const fd of [argumentPipe.write, blockPipe.write, outPipe.read, errorPipe.read]) closeSync(fd);
    throw error;
  });
  const status = readStatus(child.process);
  const ends = createEnds(argumentPipe.write, blockPipe.write);
  return {
    pid: child.pid,
    stdout: openReadable(outPipe.read),
    stderr: openReadable(errorPipe.read),
    ended: status.ended,
    build: async () => {
      ends.sendArguments(argumentBytes);
      const init = await status.init;
      return init !== null && (await waitUntilBuilt(init, status.ended));
    },
    release: ends.release,
    findCommand: () => findFirstChild(status.initPid()),
    kill: () => {
      child.process.kill("SIGKILL");
    },
    close: ends.close,
  };
}

type Stdio = (number | "pipe")[];

async function spawnBwrap(options: LaunchOptions, stdio: Stdio): Promise<{ process: ChildProcess; pid: number }> {
  const identity = options.uid === null ? {} : { uid: options.uid, gid: options.uid };
  const argv = ["--args", String(ARGUMENTS_FD), "--hostname", HOST_NAME, "--", ...options.command];
  closeOnExecAll();
  // Detached: a Ctrl-C at this process's terminal is not the job's.
  const process = spawn(options.bwrap, argv, {
    stdio,
    env: launcherEnvironment,
    cwd: "/",
    detached: true,
    ...identity,
  });
  if (process.pid !== undefined) return { process, pid: process.pid };
  return new Promise((_resolve, reject) => process.once("error", reject));
}

/** The whole input is put into the pipe beforehand, so that nobody has to feed it. */
function openStdin({ stdin, uid }: LaunchOptions): number {
  if (stdin === null) return openSync("/dev/null", "r");
  const pipe = createPipe(uid, stdin.length);
  if (stdin.length > 0) writeSync(pipe.write, stdin);
  closeSync(pipe.write);
  return pipe.read;
}

function openReadable(fd: number): Readable {
  return new Socket({ fd, readable: true, writable: false });
}

/** Our ends of the two pipes that bwrap waits on. */
function createEnds(argumentsFd: number, blockFd: number) {
  const open = new Set([argumentsFd, blockFd]);
  const close = (fd: number): void => {
    if (open.delete(fd)) closeSync(fd);
  };
  return {
    sendArguments: (bytes: Buffer): void => {
      try {
        writeSync(argumentsFd, bytes);
      } catch (error) {
        // Killed before it read them: `ended` tells.
        if (!(error instanceof Error && "code" in error && error.code === "EPIPE")) throw error;
      }
      close(argumentsFd);
    },
    release: (): void => {
      if (open.has(blockFd)) writeSync(blockFd, "\0");
      close(blockFd);
    },
    close: (): void => {
      close(argumentsFd);
      close(blockFd);
    },
  };
}

/** Follows bwrap's status documents: the pid of the sandbox's init, then the command's exit code. */
function readStatus(child: ChildProcess) {
  let text = "";
  const find = (key: string): number | null => {
    const match = new RegExp(`"${key}": (\\d+)`).exec(text);
    return match ? Number(match[1]) : null;
  };
  const init = Promise.withResolvers<number | null>();
  const stream = child.stdio[STATUS_FD] as Readable;
  stream.setEncoding("latin1");
  stream.on("data", (chunk: string) => {
    text += chunk;
    const pid = find("child-pid");
    if (pid !== null) init.resolve(pid);
  });
  const closed = new Promise<void>((resolve) => stream.once("close", resolve));
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    child.once("exit", (code, signal) => resolve({ code, signal })),
  );
  const ended = (async (): Promise<LauncherExit> => {
    const exit = await exited;
    await closed;
    init.resolve(null);
    return { ...exit, reportedCode: find("exit-code") };
  })();
  return { init: init.promise, initPid: () => find("child-pid"), ended };
}

/**
 * The sandbox is built when its init has given up its last capability: nothing that needs a privilege is left to do, and
 * what follows is the wait for the release.
 */
async function waitUntilBuilt(init: number, ended: Promise<unknown>): Promise<boolean> {
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  for (let pauseMs = 1; !hasEnded; pauseMs = Math.min(8, pauseMs * 1.3)) {
    if (hasNoCapabilities(init)) return true;
    await delay(pauseMs);
  }
  return false;
}

function hasNoCapabilities(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    // A zombie has none either.
    return /^CapEff:\t0+$/m.test(status) && !/^State:\t[ZX]/m.test(status);
  } catch {
    // It ended; the exit of bwrap follows.
    return false;
  }
}

/** The command is the first child of the sandbox's init; adopted orphans come after it. */
function findFirstChild(init: number | null): number | null {
  if (init === null) return null;
  try {
    const [first] = readFileSync(`/proc/${init}/task/${init}/children`, "latin1").split(" ");
    return first ? Number(first) : null;
  } catch {
    // The sandbox has ended.
    return null;
  }
}
