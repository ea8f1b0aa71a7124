// Starting bwrap so that nothing runs too early and nothing leaks in.
//
// bwrap is started directly, already under the sandbox's uid, and first of all reads its arguments from a pipe. While it
// waits it is moved into its cgroups; only then are the arguments written. It builds the sandbox, gives up its last
// capability, and waits again, for the system call filter: `release` sends it, and the command runs. So the gate that
// holds the command back is one that only a living worker can open. What happens when this process dies:
//
//   before the arguments   bwrap reads an end of file; without --unshare-all, which comes last in the arguments, it
//                          refuses --hostname and ends
//   while it is built      bwrap ends; its child may be left waiting for it, and ends with its cgroup
//   before the release     bwrap reads an end of file; the kernel refuses an empty filter, and bwrap ends
//   after the release      --die-with-parent
//
// (--block-fd is no such gate: bwrap takes its end of file for a release.) The launcher's environment is constant; the
// job's travels in the arguments and is set by bwrap for the final exec alone.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { closeOnExecAll, createPipe } from "./native.ts";
import { HOST_NAME } from "./root-file-system.ts";

const ARGUMENTS_FD = 3;
const STATUS_FD = 4;
const GATE_FD = 5;
const launcherEnvironment = { PATH: "/usr/bin:/bin" };
/** The arguments that name the descriptors below. */
export const descriptorArguments = [...["--json-status-fd", String(STATUS_FD)], ...["--seccomp", String(GATE_FD)]];

export interface LaunchOptions {
  bwrap: string;
  seccomp: Buffer;
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
  const gatePipe = createPipe(null);
  const outPipe = createPipe(options.uid);
  const errorPipe = createPipe(options.uid);
  const child = await spawnBwrap(options, [
    ...[hold(openStdin(options)), hold(outPipe.write), hold(errorPipe.write)],
    ...[hold(argumentPipe.read), "pipe" as const, hold(gatePipe.read)],
  ]).catch((error: unknown) => {
    for (const fd of [argumentPipe.write, gatePipe.write, outPipe.read, errorPipe.read]) closeSync(fd);
    throw error;
  });
  const status = readStatus(child.process);
  const ends = createEnds(argumentPipe.write, gatePipe.write);
  return {
    pid: child.pid,
    stdout: openReadable(outPipe.read),
    stderr: openReadable(errorPipe.read),
    ended: status.ended,
    build: async () => {
      ends.send(argumentPipe.write, argumentBytes);
      const init = await status.init;
      return init !== null && (await waitUntilBuilt(init, status.ended));
    },
    release: () => ends.send(gatePipe.write, options.seccomp),
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

/** Our ends of the pipes that bwrap waits on. Each is written once, in one piece that fits, so this never blocks. */
function createEnds(...fds: number[]) {
  const open = new Set(fds);
  const close = (fd: number): void => {
    if (open.delete(fd)) closeSync(fd);
  };
  return {
    send: (fd: number, bytes: Buffer): void => {
      try {
        if (open.has(fd)) writeSync(fd, bytes);
      } catch (error) {
        // bwrap was killed before it read them: `ended` tells.
        if (!(error instanceof Error && "code" in error && error.code === "EPIPE")) throw error;
      }
      close(fd);
    },
    close: (): void => {
      for (const fd of fds) close(fd);
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
