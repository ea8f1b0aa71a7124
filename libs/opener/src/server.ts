// The accepting side, inside the daemon: a socket that one account may open. Each connection is given to a child of its own;
// nothing that is said on it is read here.
import { spawn } from "node:child_process";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { listenUnix, peerCredentials } from "@aether/http";

const childrenMax = 32;
const main = join(import.meta.dirname, "child-main.ts");

export interface OpenerOptions {
  socketPath: string;
  /** Who may ask, beside root: the account of the services. */
  uid: number;
  /** Folder of placed files: root's, with a folder for each user. */
  filesDir: string;
  env: Readonly<Record<string, string>>;
  onRefused?(peer: { uid: number; pid: number }): void;
}

/** Accepts until disposed; children that still serve end with it. */
export async function startOpener(options: OpenerOptions): Promise<AsyncDisposable> {
  const children = new Set<ReturnType<typeof spawn>>();
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    const peer = peerOf(socket);
    if (!peer || (peer.uid !== options.uid && peer.uid !== 0) || children.size >= childrenMax) {
      if (peer) options.onRefused?.(peer);
      socket.destroy();
      return;
    }
    const child = spawn(
      process.execPath,
      ["--max-old-space-size=64", "--max-semi-space-size=1", main, options.filesDir],
      {
        cwd: "/",
        env: { ...options.env },
        stdio: [socket, "ignore", "inherit"],
        detached: true,
      },
    );
    children.add(child);
    // The child has a descriptor of its own by now.
    socket.destroy();
    child.once("error", () => children.delete(child));
    child.once("exit", () => children.delete(child));
  });
  const listener = await listenUnix(server, { path: options.socketPath, mode: 0o600, uid: options.uid });
  return {
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill("SIGKILL");
      await listener[Symbol.asyncDispose]();
    },
  };
}

function peerOf(socket: Socket) {
  try {
    return peerCredentials(socket);
  } catch {
    return null; // gone already
  }
}
