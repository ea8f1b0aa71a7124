// The one that opens: started as root by the daemon with a connection as its standard input, it reads for whom it is, becomes
// exactly that user (uid, gid, supplementary groups) for good, and only then looks at anything that it was asked. All its
// code is loaded before. As nobody (`as: null`) it stays root and touches nothing but the folder of placed files.
import { Socket } from "node:net";
import {
  FileRefused,
  findPlaced,
  forgetPlaced,
  makeUserFolder,
  placedName,
  placeFile,
  readFileChunks,
  requireRoom,
} from "./files.ts";
import { type Channel, openChannel } from "./frames.ts";

interface Asked {
  as?: { uid: number; gid: number; groups: number[] } | null;
  read?: string;
  max_bytes?: number;
  place?: string;
  sha256?: string;
  size_bytes?: number;
  free_floor_bytes?: number;
  forget?: string[];
}

const filesDir = process.argv[2] ?? "";
const socket = new Socket({ fd: 0, readable: true, writable: true });
// Who asked has gone away: nothing is left to do or to tell.
socket.once("close", () => process.exit(0));
socket.on("error", () => process.exit(0));
const channel = openChannel(socket);
const first = await next(channel);
const as = first?.as ?? null;
const folder = as ? await becomeUser(as) : null;
for (let asked = await next(channel); asked !== null; asked = await next(channel)) {
  try {
    const done =
      folder === null ? { placed: await forgetPlaced(filesDir, asked.forget ?? []) } : await serve(asked, folder);
    await channel.send({ done });
  } catch (error) {
    if (!(error instanceof FileRefused)) {
      process.stderr.write(`opener: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exit(1);
    }
    await channel.send({ refused: error.message });
  }
}
process.exit(0);

async function next(from: Channel): Promise<Asked | null> {
  const frame = await from.read();
  if (frame === null) return null;
  if (!("json" in frame)) throw new Error("bytes where a question belongs");
  return frame.json as Asked;
}

/** Becomes the user, with no way back, and answers his folder. */
async function becomeUser({ uid, gid, groups }: NonNullable<Asked["as"]>): Promise<string> {
  for (const id of [uid, gid, ...groups])
    if (!Number.isInteger(id) || id < 0 || id > 0xffff_fffe) throw new Error("no id");
  const made = await makeUserFolder(filesDir, uid, gid);
  process.setgroups?.(groups);
  process.setgid?.(gid);
  process.setuid?.(uid);
  if (process.getuid?.() !== uid || process.geteuid?.() !== uid || process.getegid?.() !== gid)
    throw new Error("the privileges of root could not be given up");
  return made;
}

async function serve(asked: Asked, own: string): Promise<unknown> {
  if (asked.read !== undefined) {
    for await (const chunk of readFileChunks(asked.read, asked.max_bytes ?? 0)) await channel.sendBytes(chunk);
    return {};
  }
  const { place: name = "", sha256 = "", size_bytes: sizeBytes = -1, free_floor_bytes: floor = 0 } = asked;
  if (!placedName.test(name)) throw new Error("no name of a placed file");
  const found = await findPlaced(own, { name, sha256, sizeBytes });
  if (found !== null) return { path: found };
  await requireRoom(own, sizeBytes + floor);
  await channel.send({ wanted: true });
  return { path: await placeFile(own, { name, sha256, sizeBytes }, received()) };
}

/** Bytes from the client up to its next word. */
async function* received(): AsyncGenerator<Buffer, void, void> {
  for (let frame = await channel.read(); frame !== null && "bytes" in frame; frame = await channel.read())
    yield frame.bytes;
}
