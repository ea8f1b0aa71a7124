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
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { constants } from "node:os";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import type { SecretFile } from "./driver.ts";
import { closeOnExecAll, createPipe } from "./native.ts";
import { HOST_NAME } from "./root-file-system.ts";
import { reapProcess, spawnProcess } from "./spawn.ts";

const ARGUMENTS_FD = 3;
const STATUS_FD = 4;
const GATE_FD = 5;
/** And those after it: files that the command finds in its memory. */
export const FIRST_SECRET_FD = 6;
/** No sandbox is built sooner. */
const FIRST_LOOK_MS = 2;
/** Becomes the job's user before bwrap begins: to start a program under another uid, Node would have to fork. */
export const SETPRIV = "/usr/bin/setpriv";
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
  secrets?: readonly SecretFile[];
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
  const pipes = openPipes(options.uid, argumentBytes.length);
  const ends = createEnds([pipes.arguments.write, pipes.gate.write]);
  let pid: number;
  try {
    pid = spawnBwrap(options, [
      ...[hold(openStdin(options)), hold(pipes.stdout.write), hold(pipes.stderr.write)],
      ...[hold(pipes.arguments.read), hold(pipes.status.write), hold(pipes.gate.read)],
      ...(options.secrets ?? []).map(({ bytes }) => hold(openFilled(bytes, null))),
    ]);
  } catch (error) {
    ends.close();
    for (const { read } of [pipes.stdout, pipes.stderr, pipes.status]) closeSync(read);
    throw error;
  }
  let isReaped = false;
  const ended = waitForEnd(pid, openReadable(pipes.status.read)).finally(() => {
    isReaped = true;
  });
  let init: number | null = null;
  return {
    pid,
    stdout: openReadable(pipes.stdout.read),
    stderr: openReadable(pipes.stderr.read),
    ended,
    build: async () => {
      ends.send(pipes.arguments.write, argumentBytes);
      init = await waitUntilBuilt(pid, ended);
      return init !== null;
    },
    release: () => ends.send(pipes.gate.write, options.seccomp),
    findCommand: () => (init === null ? null : findFirstChild(init)),
    kill: () => {
      if (!isReaped) process.kill(pid, "SIGKILL");
    },
    close: ends.close,
  };
}

function openPipes(owner: number | null, argumentBytes: number) {
  return {
    stdout: createPipe(owner),
    stderr: createPipe(owner),
    arguments: createPipe(null, argumentBytes),
    status: createPipe(null),
    gate: createPipe(null),
  };
}

/** In a session of its own: a Ctrl-C at this process's terminal is not the job's. */
function spawnBwrap({ bwrap, uid, command }: LaunchOptions, descriptors: number[]): number {
  const argv = ["--args", String(ARGUMENTS_FD), "--hostname", HOST_NAME, "--", ...command];
  closeOnExecAll();
  return spawnProcess({
    command: uid === null ? [bwrap, ...argv] : [...becoming(uid), bwrap, ...argv],
    descriptors,
    environment: launcherEnvironment,
  });
}

function becoming(uid: number): [string, ...string[]] {
  return [SETPRIV, "--reuid", String(uid), "--regid", String(uid), "--clear-groups", "--"];
}

function openStdin({ stdin, uid }: LaunchOptions): number {
  return stdin === null ? openSync("/dev/null", "r") : openFilled(stdin, uid);
}

/** The end of a pipe that all of it was put into beforehand, so that nobody has to feed it. */
function openFilled(bytes: Uint8Array, owner: number | null): number {
  const pipe = createPipe(owner, bytes.length);
  if (bytes.length > 0) writeSync(pipe.write, bytes);
  closeSync(pipe.write);
  return pipe.read;
}

function openReadable(fd: number): Readable {
  return new Socket({ fd, readable: true, writable: false });
}

/** Our ends of the pipes to bwrap. Each is written once at most, in one piece that fits, so this never blocks. */
function createEnds(fds: readonly number[]) {
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

/** bwrap's end; its last document tells the command's exit code, and is missing when the command was never executed. */
async function waitForEnd(pid: number, status: Readable): Promise<LauncherExit> {
  // It holds the other end until it ends.
  const reported = /"exit-code": (\d+)/.exec(await text(status));
  const { code, signal } = await reapProcess(pid);
  return { code, signal: signal === null ? null : nameOf(signal), reportedCode: reported ? Number(reported[1]) : null };
}

function nameOf(signal: number): string {
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `SIG${signal}`;
}

/**
 * The sandbox is built when its init has given up its last capability: nothing that needs a privilege is left to do, and
 * what follows is the wait for the release. Answers the init's pid, or null when bwrap ended first.
 */
async function waitUntilBuilt(bwrap: number, ended: Promise<unknown>): Promise<number | null> {
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  let pauseMs = FIRST_LOOK_MS;
  for (let init: number | null = null; !hasEnded; pauseMs = Math.min(8, pauseMs * 1.2)) {
    await delay(pauseMs);
    init ??= findFirstChild(bwrap);
    if (init !== null && hasNoCapabilities(init)) return init;
  }
  return null;
}

function hasNoCapabilities(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    // A zombie has none either.
    return status.includes("\nCapEff:\t0000000000000000\n") && !/^State:\t[ZX]/m.test(status);
  } catch {
    // It ended; the exit of bwrap follows.
    return false;
  }
}

/** The first child of bwrap is the sandbox's init, and of that the command; adopted orphans come after it. */
function findFirstChild(pid: number): number | null {
  try {
    const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ");
    return first ? Number(first) : null;
  } catch {
    // It has ended.
    return null;
  }
}
