// One owner per socket path, whoever starts at the same time and however the last owner ended.
//
// The right to the path is an exclusive lock inside `<path>.lock`, taken through SQLite because that is the one fcntl lock
// Node can take: the kernel drops it when the process dies, so there is no stale lock to judge. Only its holder may remove
// what a dead owner left at the path and bind anew. The socket is born with its final mode: bind() happens inside listen(),
// between two changes of the umask, so there is no moment at which others could connect.
import { chownSync, lstatSync, rmSync } from "node:fs";
import type { Server as HttpServer } from "node:http";
import type { Server } from "node:net";
import { DatabaseSync } from "node:sqlite";

const longestPathBytes = 107;
const sqliteBusy = 5;

export interface ListenUnixOptions {
  path: string;
  /** Permission bits of the socket, for example 0o660. */
  mode: number;
  /** User that gets the socket; the process's own where absent. */
  uid?: number;
  /** Group that gets the socket; the process's own where absent. */
  gid?: number;
}

/** The right to a socket path; disposing it closes the server, removes the socket and gives the path free. */
export interface UnixListener extends AsyncDisposable {
  readonly path: string;
}

/** Another living process owns the socket. */
export class SocketOwnedError extends Error {
  constructor(path: string) {
    super(`another process already serves ${path}`);
    this.name = "SocketOwnedError";
  }
}

/** Takes the path for this process and makes the server listen on it; throws SocketOwnedError when it is taken. */
export async function listenUnix(server: Server, options: ListenUnixOptions): Promise<UnixListener> {
  assertFits(options.path);
  const lock = takeLock(options.path);
  try {
    removeStale(options.path);
    await bind(server, options);
    const { uid, gid } = options;
    if (uid !== undefined || gid !== undefined)
      chownSync(options.path, uid ?? process.getuid?.() ?? 0, gid ?? process.getgid?.() ?? 0);
  } catch (error) {
    server.close();
    lock.close();
    throw error;
  }
  return {
    path: options.path,
    async [Symbol.asyncDispose]() {
      // Closing the server removes the socket; only then may another process bind there.
      if (server.listening) await new Promise((resolve) => server.close(resolve));
      if (lock.isOpen) lock.close();
    },
  };
}

/**
 * Makes the server listen at a path that needs no right of its own: in a folder that only the holder of another path uses. What
 * stands there is a dead predecessor's. Disposing ends its connections, and removes the socket.
 */
export async function bindUnix(
  server: HttpServer,
  options: Pick<ListenUnixOptions, "path" | "mode">,
): Promise<AsyncDisposable> {
  assertFits(options.path);
  removeStale(options.path);
  await bind(server, options);
  return {
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function assertFits(path: string): void {
  if (Buffer.byteLength(path) <= longestPathBytes) return;
  throw new Error(`the socket path is longer than ${longestPathBytes} bytes, the kernel's limit: ${path}`);
}

function takeLock(path: string): DatabaseSync {
  const umask = process.umask(0o177);
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(`${path}.lock`, { timeout: 0 });
    lock.exec("PRAGMA journal_mode=DELETE; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock?.close();
    if (error instanceof Error && "errcode" in error && error.errcode === sqliteBusy) throw new SocketOwnedError(path);
    throw new Error(`cannot lock ${path}.lock`, { cause: error });
  } finally {
    process.umask(umask);
  }
}

function removeStale(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return;
  if (!found.isSocket()) throw new Error(`${path} is not a socket and is left alone; move it away`);
  rmSync(path);
}

async function bind(server: Server, options: ListenUnixOptions): Promise<void> {
  const ready = new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
  });
  const umask = process.umask(0o777 & ~options.mode);
  try {
    server.listen(options.path);
  } finally {
    process.umask(umask);
  }
  await ready;
}
