// Reading and placing files with the rights that this process has. Whatever a path leads to is looked at before it is opened:
// a device, a FIFO or a socket is never opened at all, and what is checked is the descriptor, not the path, so nothing can be
// swapped in between.
import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readdir, readlink, rename, rm, statfs } from "node:fs/promises";
import { join, normalize } from "node:path";

const O_PATH = 0o10000000;
const { O_CREAT, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const chunkBytes = 256 * 1024;
/** Files there are views of the kernel's state: they have no size and no end that could be relied on. */
const closedRoots = ["/proc", "/sys", "/dev"];

/** What a placed file may be called: an artifact's id. */
export const placedName = /^art_[0-9a-z]{26}$/;

/** The file is not to be had, for a reason that the one who asked may know. */
export class FileRefused extends Error {
  constructor(why: string, options?: ErrorOptions) {
    super(why, options);
    this.name = "FileRefused";
  }
}

/** The bytes of a regular file, as they were when it was opened: a file that changes while it is read is refused. */
export async function* readFileChunks(path: string, maxBytes: number): AsyncGenerator<Buffer, void, void> {
  await using file = await openRegular(path, maxBytes);
  const before = await file.handle.stat({ bigint: true });
  let sizeBytes = 0;
  for (;;) {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    const length = await fill(file.handle, buffer);
    sizeBytes += length;
    if (sizeBytes > Number(before.size)) break;
    if (length > 0) yield buffer.subarray(0, length);
    if (length < chunkBytes) break;
  }
  const after = await file.handle.stat({ bigint: true });
  const isSame = before.mtimeNs === after.mtimeNs && before.ctimeNs === after.ctimeNs && before.size === after.size;
  if (!isSame || sizeBytes !== Number(before.size)) throw new FileRefused("the file changed while it was read");
}

export interface Placed {
  name: string;
  sha256: string;
  sizeBytes: number;
}

/** The path of a placed file whose bytes are those of the digest, looked at just now; null where there is none. */
export async function findPlaced(folder: string, { name, sha256, sizeBytes }: Placed): Promise<string | null> {
  await requireOwnFolder(folder);
  const path = join(folder, name);
  const hash = createHash("sha256");
  try {
    const found = await lstat(path);
    if (!found.isFile() || found.size !== sizeBytes || (found.mode & 0o777) !== 0o400) return null;
    for await (const chunk of readFileChunks(path, sizeBytes)) hash.update(chunk);
  } catch (error) {
    if (error instanceof FileRefused || codeOf(error) === "ENOENT") return null;
    throw error;
  }
  return hash.digest("hex") === sha256 ? path : null;
}

/** Writes a file that is there as a whole, with the bytes of its digest, or not at all. */
export async function placeFile(
  folder: string,
  { name, sha256, sizeBytes }: Placed,
  chunks: AsyncIterable<Uint8Array>,
): Promise<string> {
  await requireOwnFolder(folder);
  const fresh = join(folder, `.new-${randomBytes(8).toString("hex")}`);
  const hash = createHash("sha256");
  try {
    await using handle = await open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    let left = sizeBytes;
    for await (const chunk of chunks) {
      left -= chunk.length;
      if (left < 0) break;
      hash.update(chunk);
      await handle.writeFile(chunk);
    }
    if (left !== 0 || hash.digest("hex") !== sha256) throw new Error("the bytes to place are not those of the digest");
    await handle.chmod(0o400);
    await rename(fresh, join(folder, name));
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
  return join(folder, name);
}

/** Makes the folder of a user below `filesDir`, which nobody but this process's user may write into. */
export async function makeUserFolder(filesDir: string, uid: number, gid: number): Promise<string> {
  const folder = join(filesDir, String(uid));
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    return folder;
  }
  if (process.getuid?.() === 0) {
    await using handle = await open(folder, O_RDONLY | O_NOFOLLOW | constants.O_DIRECTORY);
    await handle.chown(uid, gid);
  }
  return folder;
}

/** Removes placed files of these names for every user; answers the names that are left. */
export async function forgetPlaced(filesDir: string, names: readonly string[]): Promise<string[]> {
  const users = (await readdir(filesDir)).filter((name) => /^\d+$/.test(name));
  for (const name of names.filter((one) => placedName.test(one)))
    for (const user of users) await rm(join(filesDir, user, name), { force: true });
  const placed = await Promise.all(users.map((user) => readdir(join(filesDir, user))));
  return [...new Set(placed.flat())].filter((name) => placedName.test(name));
}

/** Opens what the path leads to if it is a regular file of at most that size: first as a mere place, then, known, for reading. */
async function openRegular(path: string, maxBytes: number): Promise<{ handle: FileHandle } & AsyncDisposable> {
  const place = await open(path, O_PATH | O_NOFOLLOW).catch(refuse);
  try {
    const found = await place.stat();
    if (found.isSymbolicLink()) throw new FileRefused("the path is a link");
    if (!found.isFile()) throw new FileRefused("the path is not a regular file");
    if (found.size > maxBytes) throw new FileRefused(`the file is larger than ${maxBytes} bytes`);
    requireAllowed(path, await readlink(`/proc/self/fd/${place.fd}`));
    const handle = await open(`/proc/self/fd/${place.fd}`, O_RDONLY | O_NONBLOCK | O_NOCTTY).catch(refuse);
    return { handle, [Symbol.asyncDispose]: () => handle.close() };
  } finally {
    await place.close();
  }
}

/** Where the descriptor really is. Root follows nobody's links, not even in the middle of a path: they may be anybody's. */
function requireAllowed(path: string, real: string): void {
  const closed = closedRoots.find((root) => real === root || real.startsWith(`${root}/`));
  if (closed) throw new FileRefused(`files under ${closed} are not read`);
  if (process.getuid?.() === 0 && real !== normalize(path)) throw new FileRefused("a folder of the path is a link");
}

async function requireOwnFolder(folder: string): Promise<void> {
  const found = await lstat(folder);
  const isOwn = found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o077) === 0;
  if (!isOwn) throw new FileRefused(`${folder} is not a closed folder of its user`);
}

/** Throws FileRefused where the disk has less free than that. */
export async function requireRoom(folder: string, sizeBytes: number): Promise<void> {
  const stats = await statfs(folder);
  if (stats.bavail * stats.bsize < sizeBytes) throw new FileRefused("there is no room on the disk for a file of it");
}

async function fill(handle: FileHandle, buffer: Buffer): Promise<number> {
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}

const words: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  EACCES: "you may not read it",
  EPERM: "you may not read it",
  ELOOP: "the path has too many links",
  ENAMETOOLONG: "the path is too long",
};

function refuse(error: unknown): never {
  const why = words[codeOf(error) ?? ""];
  throw why === undefined ? error : new FileRefused(why, { cause: error });
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}
