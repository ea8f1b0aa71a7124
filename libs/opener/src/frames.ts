// What client and child say to each other: frames of four bytes of length, one byte of kind, and JSON or bytes. Nothing is
// read that is longer than a chunk, and nothing is written faster than the other side reads.
import type { Duplex } from "node:stream";

const headBytes = 5;
const frameMaxBytes = 512 * 1024;
const kinds = { json: 0, bytes: 1 } as const;

type Frame = { json: unknown } | { bytes: Buffer };

export interface Channel {
  /** The next frame; null where the other side has ended. */
  read(): Promise<Frame | null>;
  send(json: unknown): Promise<void>;
  sendBytes(bytes: Uint8Array): Promise<void>;
}

/** Frames over a stream. */
export function openChannel(stream: Duplex): Channel {
  const parts: AsyncIterator<Buffer> = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);

  async function take(length: number): Promise<Buffer | null> {
    const have = [rest];
    let size = rest.length;
    while (size < length) {
      const next = await parts.next();
      if (next.done) return null;
      have.push(next.value);
      size += next.value.length;
    }
    const all = have.length === 1 ? rest : Buffer.concat(have, size);
    rest = all.subarray(length);
    return all.subarray(0, length);
  }

  async function write(kind: number, body: Uint8Array): Promise<void> {
    const head = Buffer.alloc(headBytes);
    head.writeUInt32LE(body.length);
    head.writeUInt8(kind, 4);
    stream.cork();
    stream.write(head);
    const hasRoom = stream.write(body);
    stream.uncork();
    if (!hasRoom) await drained(stream);
  }

  return {
    async read() {
      const head = await take(headBytes);
      if (!head) return null;
      const length = head.readUInt32LE();
      if (length > frameMaxBytes) throw new Error(`a frame of ${length} bytes`);
      const isJson = head.readUInt8(4) === kinds.json;
      const body = await take(length);
      if (!body) throw new Error("the connection ended inside a frame");
      return isJson ? { json: JSON.parse(body.toString("utf8")) } : { bytes: body };
    },
    send: (json) => write(kinds.json, Buffer.from(JSON.stringify(json))),
    sendBytes: (bytes) => write(kinds.bytes, bytes),
  };
}

function drained(stream: Duplex): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      stream.off("drain", done).off("close", gone);
      resolve();
    };
    const gone = () => {
      stream.off("drain", done);
      reject(new Error("the other side has gone away"));
    };
    stream.once("drain", done).once("close", gone);
    if (stream.destroyed) gone();
  });
}
