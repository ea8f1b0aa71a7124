// The asking side. Connections are kept for a while by whose they are, since a child takes its time to start; each does one
// thing at a time. Where there is no opener (an ordinary user's installation) files are opened right here, and only those
// of the user whose process this is.
import { connect, type Socket } from "node:net";
import {
  FileRefused,
  findPlaced,
  forgetPlaced,
  makeUserFolder,
  type Placed,
  placeFile,
  readFileChunks,
  requireRoom,
} from "./files.ts";
import { type Channel, openChannel } from "./frames.ts";

const idleMs = 5_000;

/** Whose rights a file is opened with. */
export interface Credentials {
  uid: number;
  gid: number;
  /** Supplementary groups. */
  groups: readonly number[];
}

export interface Placing extends Placed {
  /** What must stay free on the disk. */
  freeFloorBytes: number;
  /** The bytes, asked for only where they are not there yet. */
  chunks(): AsyncIterable<Uint8Array>;
}

export interface Opener extends Disposable {
  /** The bytes of a regular file that these credentials may read; throws FileRefused. */
  read(as: Credentials, path: string, maxBytes: number): AsyncIterable<Uint8Array>;
  /** The path of a file with these bytes that this user alone may read, checked just now. */
  place(as: Credentials, placing: Placing): Promise<string>;
  /** Removes placed files of these names for everybody; answers the names that are left. */
  forget(names: readonly string[]): Promise<string[]>;
}

/** Through the opener at the socket, or right here for the own user where there is none; who places nothing has no folder. */
export function createOpener(options: { socketPath: string | null; filesDir?: string }): Opener {
  return options.socketPath === null ? openHere(options.filesDir) : openThere(options.socketPath);
}

interface Connection {
  key: string;
  socket: Socket;
  channel: Channel;
  idle?: NodeJS.Timeout;
}

function openThere(socketPath: string): Opener {
  const kept = new Set<Connection>();

  async function take(as: Credentials | null): Promise<Connection> {
    const key = JSON.stringify(as);
    for (const connection of kept) {
      if (connection.key !== key || connection.socket.destroyed) continue;
      kept.delete(connection);
      clearTimeout(connection.idle);
      return connection;
    }
    const socket = connect(socketPath);
    socket.on("error", () => socket.destroy());
    const channel = openChannel(socket);
    await channel.send({ as: as && { uid: as.uid, gid: as.gid, groups: as.groups } });
    return { key, socket, channel };
  }

  function keep(connection: Connection): void {
    connection.idle = setTimeout(() => {
      kept.delete(connection);
      connection.socket.destroy();
    }, idleMs).unref();
    kept.add(connection);
  }

  /** Asks, gives bytes on as they come, and answers the last word. What is left in the middle is cut off. */
  async function* ask(
    as: Credentials | null,
    question: object,
    chunks?: () => AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, Record<string, unknown>, void> {
    const connection = await take(as);
    const { channel } = connection;
    let isWhole = false;
    try {
      await channel.send(question);
      for (;;) {
        const frame = await channel.read();
        if (frame === null) throw new Error("the opener ended without an answer");
        if ("bytes" in frame) yield frame.bytes;
        else {
          const said = frame.json as { done?: Record<string, unknown>; refused?: string; wanted?: boolean };
          if (said.wanted && chunks) {
            for await (const chunk of chunks()) await channel.sendBytes(chunk);
            await channel.send({});
            continue;
          }
          isWhole = true;
          if (said.refused !== undefined) throw new FileRefused(said.refused);
          return said.done ?? {};
        }
      }
    } finally {
      if (isWhole) keep(connection);
      else connection.socket.destroy();
    }
  }

  return {
    read: (as, path, maxBytes) => ask(as, { read: path, max_bytes: maxBytes }),
    async place(as, { name, sha256, sizeBytes, freeFloorBytes, chunks }) {
      const question = { place: name, sha256, size_bytes: sizeBytes, free_floor_bytes: freeFloorBytes };
      return String((await lastOf(ask(as, question, chunks))).path);
    },
    forget: async (names) => (await lastOf(ask(null, { forget: names }))).placed as string[],
    [Symbol.dispose]() {
      for (const { socket, idle } of kept) {
        clearTimeout(idle);
        socket.destroy();
      }
    },
  };
}

async function lastOf<T>(generator: AsyncGenerator<unknown, T, void>): Promise<T> {
  for (;;) {
    const step = await generator.next();
    if (step.done) return step.value;
  }
}

function openHere(givenDir: string | undefined): Opener {
  const requireDir = (): string => {
    if (givenDir === undefined) throw new Error("there is no folder to place files in");
    return givenDir;
  };
  const own = process.getuid?.();
  const requireOwn = (as: Credentials): void => {
    if (as.uid !== own) throw new FileRefused("this Aether opens only files of the user who runs it");
  };
  return {
    async *read(as, path, maxBytes) {
      requireOwn(as);
      yield* readFileChunks(path, maxBytes);
    },
    async place(as, { chunks, freeFloorBytes, ...placed }) {
      requireOwn(as);
      const folder = await makeUserFolder(requireDir(), as.uid, as.gid);
      const found = await findPlaced(folder, placed);
      if (found !== null) return found;
      await requireRoom(folder, placed.sizeBytes + freeFloorBytes);
      return placeFile(folder, placed, chunks());
    },
    forget: async (names) => forgetPlaced(requireDir(), names),
    [Symbol.dispose]() {},
  };
}
