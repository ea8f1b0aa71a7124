// Starting a program without copying this process. Node's own spawn forks, and fork copies the page tables of the whole
// process: for a worker of some 100 MB that takes longer than everything else about a sandbox. posix_spawn shares them until
// the exec.
//
// The program gets a session of its own, every signal as by default, the descriptors it is given as 0, 1, 2, … and no other:
// all of this process's must close on exec (closeOnExecAll). It is ours to wait for.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import koffi from "koffi";

/** As glibc's spawn.h has them; the structures are larger than theirs on every architecture. */
const SETSIGDEF = 0x04;
const SETSIGMASK = 0x08;
const SETSID = 0x80;
const STRUCT_BYTES = 512;
const SIGNAL_SET_BYTES = 128;
const WNOHANG = 1;

const libc = koffi.load("libc.so.6");
const attributesInit = libc.func("int posix_spawnattr_init(void *attributes)");
const attributesSetFlags = libc.func("int posix_spawnattr_setflags(void *attributes, short flags)");
const attributesSetDefault = libc.func("int posix_spawnattr_setsigdefault(void *attributes, const void *signals)");
const attributesSetMask = libc.func("int posix_spawnattr_setsigmask(void *attributes, const void *signals)");
const attributesDestroy = libc.func("int posix_spawnattr_destroy(void *attributes)");
const actionsInit = libc.func("int posix_spawn_file_actions_init(void *actions)");
const actionsDuplicate = libc.func("int posix_spawn_file_actions_adddup2(void *actions, int fd, int as)");
const actionsChangeFolder = libc.func("int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)");
const actionsDestroy = libc.func("int posix_spawn_file_actions_destroy(void *actions)");
const posixSpawn = libc.func(
  "int posix_spawn(_Out_ int *pid, const char *path, const void *actions, const void *attributes, const char **argv, const char **environment)",
);
const waitpid = libc.func("int waitpid(int pid, _Out_ int *status, int options)");

export interface SpawnOptions {
  /** Absolute path of the program, and its arguments without its name. */
  command: readonly [string, ...string[]];
  /** Descriptors of this process that become 0, 1, 2, … of the program. */
  descriptors: readonly number[];
  environment: Readonly<Record<string, string>>;
}

/** How a process ended: exactly one of the two is set. */
export interface ProcessExit {
  code: number | null;
  signal: number | null;
}

/** Starts the program in `/` and answers its pid; throws when it could not be executed. */
export function spawnProcess({ command, descriptors, environment }: SpawnOptions): number {
  using cleanup = new DisposableStack();
  const attributes = Buffer.alloc(STRUCT_BYTES);
  check(attributesInit(attributes), "posix_spawnattr_init");
  cleanup.defer(() => attributesDestroy(attributes));
  check(attributesSetFlags(attributes, SETSIGDEF | SETSIGMASK | SETSID), "posix_spawnattr_setflags");
  check(attributesSetDefault(attributes, Buffer.alloc(SIGNAL_SET_BYTES, 0xff)), "posix_spawnattr_setsigdefault");
  check(attributesSetMask(attributes, Buffer.alloc(SIGNAL_SET_BYTES)), "posix_spawnattr_setsigmask");

  const actions = Buffer.alloc(STRUCT_BYTES);
  check(actionsInit(actions), "posix_spawn_file_actions_init");
  cleanup.defer(() => actionsDestroy(actions));
  for (const [as, fd] of descriptors.entries()) {
    assert(fd >= descriptors.length, "no descriptor is overwritten before it was duplicated");
    check(actionsDuplicate(actions, fd, as), "posix_spawn_file_actions_adddup2");
  }
  check(actionsChangeFolder(actions, "/"), "posix_spawn_file_actions_addchdir_np");

  const [path] = command;
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const pid = [-1];
  check(posixSpawn(pid, path, actions, attributes, [...command, null], [...variables, null]), path);
  return pid[0] as number;
}

/** Waits for a process of ours that is about to end, and takes its exit; from then on its pid may be another's. */
export async function reapProcess(pid: number): Promise<ProcessExit> {
  for (let pauseMs = 0; ; pauseMs = Math.min(20, pauseMs + 1)) {
    const status = [0];
    const ended: number = waitpid(pid, status, WNOHANG);
    if (ended === pid) return toExit(status[0] as number);
    if (ended < 0) throw new Error(`process ${pid} is not a child of this one`);
    await delay(pauseMs);
  }
}

/** wait(2)'s status. */
function toExit(status: number): ProcessExit {
  const signal = status & 0x7f;
  return signal === 0 ? { code: (status >> 8) & 0xff, signal: null } : { code: null, signal };
}

function check(error: number, what: string): void {
  if (error === 0) return;
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === error)?.[0] ?? `errno ${error}`;
  throw new Error(`${what}: ${name}`);
}
