// The few system calls that Node does not offer, through koffi. Every descriptor made here closes on exec, so that a
// launcher inherits only what its caller names.
import assert from "node:assert/strict";
import { closeSync, fchownSync, readdirSync } from "node:fs";
import koffi from "koffi";

const O_CLOEXEC = 0o2000000;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const F_SETPIPE_SZ = 1031;
const MFD_CLOEXEC = 1;
const CLOSE_RANGE_CLOEXEC = 4;
const DEFAULT_PIPE_BYTES = 65_536;

const libc = koffi.load("libc.so.6");
const pipe2: (fds: number[], flags: number) => number = libc.func("int pipe2(_Out_ int *fds, int flags)");
const fcntl: (fd: number, command: number, argument: number) => number = libc.func(
  "int fcntl(int fd, int cmd, int arg)",
);
const memfdCreate: (name: string, flags: number) => number = libc.func(
  "int memfd_create(const char *name, unsigned int flags)",
);

const closeRange = findCloseRange();

/** One pipe; both ends close on exec. */
export interface Pipe {
  read: number;
  write: number;
}

/** Makes a pipe that holds at least `capacityBytes` and belongs to `owner`, so that `/dev/stdout` can be opened by him. */
export function createPipe(owner: number | null, capacityBytes = DEFAULT_PIPE_BYTES): Pipe {
  const fds = [-1, -1];
  if (pipe2(fds, O_CLOEXEC) !== 0) throw new Error(`pipe2 failed: ${lastError()}`);
  const [read = -1, write = -1] = fds;
  if (owner !== null) fchownSync(read, owner, owner);
  if (capacityBytes > DEFAULT_PIPE_BYTES && fcntl(write, F_SETPIPE_SZ, capacityBytes) < capacityBytes) {
    const reason = lastError();
    closeSync(read);
    closeSync(write);
    throw new Error(`a pipe of ${capacityBytes} bytes cannot be had: ${reason}`);
  }
  return { read, write };
}

/** A file in memory without a name. */
export function createMemoryFile(name: string): number {
  const fd = memfdCreate(name, MFD_CLOEXEC);
  if (fd < 0) throw new Error(`memfd_create failed: ${lastError()}`);
  return fd;
}

/** Marks every open descriptor above stderr so that it closes on exec, also those that this process inherited. */
export function closeOnExecAll(): void {
  if (closeRange && closeRange(3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC) === 0) return;
  for (const name of readdirSync("/proc/self/fd")) {
    const fd = Number(name);
    // The descriptor of the listing itself is gone by now; its failure means nothing.
    if (fd > 2) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
}

/** glibc before 2.34 has no close_range. */
function findCloseRange(): ((first: number, last: number, flags: number) => number) | null {
  try {
    return libc.func("int close_range(unsigned int first, unsigned int last, int flags)");
  } catch {
    return null;
  }
}

function lastError(): string {
  const number = koffi.errno();
  assert(number !== 0, "a failed system call leaves its reason");
  return Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0] ?? `errno ${number}`;
}
