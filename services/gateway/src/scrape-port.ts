// A port on the loopback interface for scrapers that know no unix sockets: `GET /metrics` and nothing else. Off unless the
// operator names an address, because whoever reaches it is nobody to us: any user of this host may read the numbers then.
//
// A page in a browser on this host could reach it as well; one that rebinds a name comes under that name, and is refused.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { BlockList, isIP } from "node:net";
import { type Metrics, ProblemError } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";
import { formatMetrics, textTypes } from "./exposition.ts";
import { chooseFormat } from "./negotiate.ts";

const connectionsMax = 16;
const headerBytes = 8 * 1024;
const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

export interface Address {
  host: string;
  port: number;
}

/** The address that `127.0.0.1:9464` or `[::1]:9464` names; throws for what is not of the loopback interface. */
export function parseLoopback(text: string): Address {
  const found = /^(?:\[([0-9a-fA-F:]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const [host, port] = [found?.[1] ?? found?.[2] ?? "", Number(found?.[3])];
  const family = isIP(host);
  if (family === 0 || port > 65_535) throw new Error(`not an address and a port: ${text}`);
  if (!loopback.check(host, family === 6 ? "ipv6" : "ipv4")) {
    throw new Error(`metrics are served on the loopback interface only, not on ${host}`);
  }
  return { host, port };
}

export interface ScrapePort extends AsyncDisposable {
  readonly port: number;
}

/** Serves what `read` answers, as text; reads that come together are one. */
export async function openScrapePort(address: Address, read: () => Promise<Metrics>, log: Logger): Promise<ScrapePort> {
  let reading: Promise<Metrics> | null = null;
  const readOnce = () => {
    reading ??= read().finally(() => {
      reading = null;
    });
    return reading;
  };
  const server = createServer({ maxHeaderSize: headerBytes, requestTimeout: 10_000 }, (request, response) => {
    answer(request, response, readOnce).catch((error: unknown) => {
      const refused = error instanceof ProblemError;
      if (!refused) log.error({ err: error }, "metrics could not be answered");
      end(response, refused ? error.problem.status : 500, "text/plain; charset=utf-8", "not available\n");
    });
  });
  server.maxConnections = connectionsMax;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ ...address, exclusive: true }, resolve);
  });
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : address.port;
  log.info({ host: address.host, port }, "metrics are served to scrapers");
  return {
    port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, read: () => Promise<Metrics>): Promise<void> {
  const plain = "text/plain; charset=utf-8";
  const host = (request.headers.host ?? "").replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  const isOurs = host === "localhost" || (isIP(host) !== 0 && loopback.check(host, isIP(host) === 6 ? "ipv6" : "ipv4"));
  if (!isOurs || request.headers.origin !== undefined) return end(response, 403, plain, "only from this host\n");
  if (request.url !== "/metrics") return end(response, 404, plain, "there is /metrics\n");
  if (request.method !== "GET") {
    response.setHeader("Allow", "GET");
    return end(response, 405, plain, "only GET\n");
  }
  const format = chooseFormat(request.headers.accept) === "openmetrics" ? "openmetrics" : "prometheus";
  end(response, 200, textTypes[format], formatMetrics(await read(), format));
}

function end(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}
