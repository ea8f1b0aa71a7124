// The files of the mirror: where they end, and lines put behind that end.
//
// What a file holds is a function of the log alone: its name is its first record's, its lines are the records' own, each at
// the place that the ones before it leave. So writing is repeated without harm: after a kill, and by two writers that overlap
// for a moment, the same bytes go to the same places. Files that hold something else than the log are left as they are: they
// may be the better witness.
import { constants } from "node:fs";
import { type FileHandle, open, readdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { parseLine } from "@aether/chain";

const filesMax = 8;
/** More than any record takes. */
const lineMaxBytes = 1024 * 1024;
const namePattern = /^audit-(\d{12})\.log$/;
/** Leads to the newest file, for `tail -F`. */
const current = "audit.log";

/** The last record of a mirror. */
interface MirrorEnd {
  seq: number;
  hash: string;
}

export interface MirrorFiles {
  readonly end: MirrorEnd | null;
  /** Puts the lines that are new behind the end. Throws where the disk does not take them; the same lines may come again. */
  write(lines: readonly string[]): Promise<void>;
}

/** Opens the files of a folder at their end; all together take `maxBytes` at most. */
export async function openMirrorFiles(folder: string, maxBytes: number): Promise<MirrorFiles> {
  const fileBytes = maxBytes / filesMax;
  const newest = (await listFiles(folder)).at(-1);
  let file = newest ?? null;
  let { end, position } = newest ? await readEnd(join(folder, newest)) : { end: null, position: 0 };

  /** Writes one piece of the newest file, which then ends behind it. */
  const put = async (text: string, last: MirrorEnd) => {
    const bytes = Buffer.from(text);
    await using handle = await open(
      join(folder, file ?? ""),
      constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW,
      0o640,
    );
    await writeAt(handle, bytes, position);
    position += bytes.length;
    end = last;
  };
  const begin = async (seq: number) => {
    file = `audit-${String(seq).padStart(12, "0")}.log`;
    position = 0;
    await lead(folder, file);
    for (const name of (await listFiles(folder)).slice(0, 1 - filesMax))
      if (name !== file) await rm(join(folder, name), { force: true });
  };
  return {
    get end() {
      return end;
    },
    async write(lines) {
      let [text, bytes, last]: [string, number, MirrorEnd | null] = ["", 0, null];
      const flush = async () => {
        if (last) await put(text, last);
        [text, bytes, last] = ["", 0, null];
      };
      for (const line of lines) {
        const { seq, hash, prev } = placeOf(line);
        const before: MirrorEnd | null = last ?? end;
        if (before && seq < before.seq) continue;
        if (before && (seq === before.seq ? hash !== before.hash : seq === before.seq + 1 && prev !== before.hash)) {
          throw new Error(`record ${before.seq} in ${join(folder, file ?? "")} is not the log's`);
        }
        if (before?.seq === seq) continue;
        // Behind a gap, which its name shows, a new file begins as well.
        if (file === null || (before && seq > before.seq + 1) || position + bytes >= fileBytes) {
          await flush();
          await begin(seq);
        }
        text += `${line}\n`;
        bytes += Buffer.byteLength(line) + 1;
        last = { seq, hash };
      }
      await flush();
    },
  };
}

function placeOf(line: string): MirrorEnd & { prev: string } {
  const record = parseLine(line);
  return { seq: Number(record?.seq), hash: String(record?.hash), prev: String(record?.prev) };
}

async function listFiles(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => namePattern.test(name)).sort();
}

/** Where a file's last whole line ends. What is behind it was being written and is written again. */
async function readEnd(path: string): Promise<{ end: MirrorEnd | null; position: number }> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const { size } = await handle.stat();
  const from = Math.max(0, size - 2 * lineMaxBytes);
  const buffer = Buffer.alloc(size - from);
  await handle.read(buffer, 0, buffer.length, from);
  const tail = buffer.subarray(0, buffer.lastIndexOf(0x0a) + 1);
  const last = tail.subarray(tail.subarray(0, -1).lastIndexOf(0x0a) + 1).toString();
  if (last === "") return { end: null, position: from };
  const { seq, hash } = placeOf(last);
  if (!Number.isSafeInteger(seq)) throw new Error(`${path} does not end with a record`);
  return { end: { seq, hash }, position: from + tail.length };
}

async function writeAt(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

async function lead(folder: string, file: string): Promise<void> {
  const draft = join(folder, `${current}.${process.pid}`);
  await rm(draft, { force: true });
  await symlink(file, draft);
  await rename(draft, join(folder, current));
}
