// Who is at the other end of a unix socket, as the kernel recorded it when the connection was made: SO_PEERCRED and
// SO_PEERGROUPS, read with getsockopt through koffi because Node offers neither. A pid may have been given to another
// process since, so it is good for records only; uid and groups are what decisions stand on.
import { createRequire } from "node:module";
import type { Socket } from "node:net";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
const longestGroups = 65_536;

export interface PeerCredentials {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
}

type GetSockOpt = (fd: number, level: number, name: number, value: Buffer, length: [number]) => number;

const known = new WeakMap<Socket, PeerCredentials>();
let loaded: GetSockOpt | undefined;

/** The credentials of a connection's other end, read once per connection; throws where they cannot be read. */
export function peerCredentials(socket: Socket): PeerCredentials {
  const before = known.get(socket);
  if (before) return before;
  const fd = fileDescriptor(socket);
  const credentials = readOption(fd, SO_PEERCRED, 12);
  const read: PeerCredentials = {
    pid: credentials.readInt32LE(0),
    uid: credentials.readUInt32LE(4),
    gid: credentials.readUInt32LE(8),
    groups: readGroups(fd),
  };
  known.set(socket, read);
  return read;
}

function readGroups(fd: number): number[] {
  let bytes: Buffer;
  try {
    bytes = readOption(fd, SO_PEERGROUPS, 64 * 4);
  } catch {
    // More groups than usual do not fit and fail; the kernel allows no more than this many.
    bytes = readOption(fd, SO_PEERGROUPS, longestGroups * 4);
  }
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(i * 4));
}

function readOption(fd: number, name: number, sizeBytes: number): Buffer {
  loaded ??= loadGetSockOpt();
  const value = Buffer.alloc(sizeBytes);
  const length: [number] = [sizeBytes];
  if (loaded(fd, SOL_SOCKET, name, value, length) !== 0)
    throw new Error(`getsockopt ${name} failed on descriptor ${fd}`);
  return value.subarray(0, length[0]);
}

/** Loaded when a server first needs it: clients share this package and pay nothing for it. */
function loadGetSockOpt(): GetSockOpt {
  const koffi: typeof import("koffi") = createRequire(import.meta.url)("koffi");
  // null is the running program itself, whose libc is whichever it was linked to.
  return koffi
    .load(null)
    .func("int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)");
}

/** Node keeps the descriptor on an internal handle; it has been there under this name since Node 0.6. */
function fileDescriptor(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, "_handle");
  const fd: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined;
  if (typeof fd !== "number" || fd < 0) throw new Error("the connection has no descriptor any more");
  return fd;
}
