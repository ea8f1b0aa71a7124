// A server of this package on a socket in a folder of its own, and raw bytes over a connection.
import { mkdtempSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createProblemServer, listenUnix, type ProblemServerOptions } from "../src/index.ts";

export interface Fixture extends AsyncDisposable {
  readonly folder: string;
  readonly socketPath: string;
  readonly server: Server;
  readonly unexpected: unknown[];
}

export async function startServer(handle: ProblemServerOptions["handle"]): Promise<Fixture> {
  const folder = mkdtempSync(join(tmpdir(), "aether-http-"));
  const socketPath = join(folder, "test.sock");
  const unexpected: unknown[] = [];
  const server = createProblemServer({
    handle,
    onUnexpected: (error) => unexpected.push(error),
    maxHeaderBytes: 16 * 1024,
  });
  const listener = await listenUnix(server, { path: socketPath, mode: 0o660 });
  return {
    folder,
    socketPath,
    server,
    unexpected,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await listener[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Sends bytes as they are and answers everything that came back until the other side ended. */
export function sendRaw(socketPath: string, bytes: string | Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    let received = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      received += chunk;
    });
    socket.on("end", () => resolve(received));
    socket.on("error", (error) => (received === "" ? reject(error) : resolve(received)));
    socket.write(bytes);
  });
}
