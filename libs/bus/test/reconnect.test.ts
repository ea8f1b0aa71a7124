// A connection that is cut again while it comes back: in the middle of the handshake, where no error tells the client.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { requireBackend, silentLog, startNats, waitFor } from "@aether/testkit";
import { expect, it } from "vitest";
import { connectBus, seedFile } from "../src/index.ts";

const missing = requireBackend("nats");
/** Far below a worker's lease, which lasts ten seconds. */
const soonMs = 6_000;

it.skipIf(missing)(
  "comes back soon after a server that died in the middle of the handshake",
  async () => {
    await using nats = await startNats();
    const { hostname, port } = new URL(nats.url);
    const sockets: Socket[] = [];
    let connections = 0;
    await using proxy = createServer((client) => {
      const server = connect(Number(port), hostname);
      const breaks = ++connections === 2;
      sockets.push(client, server);
      for (const socket of [client, server]) socket.on("error", () => {}); // the other side is told by the end of this one
      client.on("close", () => server.destroy());
      server.on("close", () => client.destroy());
      server.pipe(client);
      client.on("data", (data) => (breaks ? client.destroy() : server.write(data)));
    }).listen(0, "127.0.0.1");
    await once(proxy, "listening");
    const server = `nats://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    await using bus = await connectBus({
      server,
      user: "jobs",
      seedFile: seedFile(nats.keysDir, "jobs"),
      log: silentLog,
    });
    const startedAt = performance.now();
    for (const socket of sockets) socket.destroy();
    await waitFor("the connection to be back", () => bus.reconnects > 0 && bus.connected, 30_000);
    expect(connections).toBeGreaterThan(2);
    expect(performance.now() - startedAt).toBeLessThan(soonMs);
    await bus[Symbol.asyncDispose]();
    for (const socket of sockets) socket.destroy();
  },
  40_000,
);
