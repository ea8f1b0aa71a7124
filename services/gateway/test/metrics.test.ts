// The numbers of everything over the socket and over the port for scrapers, on real NATS with scripted services.
import { connect } from "node:net";
import { join } from "node:path";
import { type Bus, handler, serve } from "@aether/bus";
import { type DecideReply, getJob, healthOperation, Metrics, ProblemError, services } from "@aether/contracts";
import { readText, requestUnix } from "@aether/http";
import { createRegistry } from "@aether/telemetry";
import { captureLog, requireBackend, startNats, type TestNats, tempDir } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseLoopback, startGateway, toRoles } from "../src/index.ts";
import { readMetrics, scrapeMetrics } from "../src/metrics.ts";
import { parseExposition } from "./_exposition.ts";

const missing = requireBackend("nats");

describe.skipIf(missing)(`metrics${missing ? `: ${missing}` : ""}`, () => {
  let nats: TestNats;
  let gateway: Awaited<ReturnType<typeof startGateway>>;
  let outcome: DecideReply["outcome"] = "allow";
  const stack = new AsyncDisposableStack();
  const socketPath = join(stack.use(tempDir()).path, "s.sock");

  async function serveOne(bus: Bus, service: "jobs" | "policy"): Promise<AsyncDisposable> {
    const load = async () => null;
    const metrics = createRegistry();
    metrics.counter("aether.test.count", "{thing}", "Things").add(3, { kind: service });
    const health = handler(healthOperation(service), { handle: async () => ({ version: "1", degraded: [] }) });
    const job = handler(getJob, { load, handle: async () => Promise.reject(new Error("never")) });
    return serve(bus, {
      ...{ service, version: "1", description: "scripted", metrics },
      handlers: service === "jobs" ? [health, job] : [health],
      decide: async () => ({
        ...{
          outcome,
          decision_id: null,
          reason: "scripted",
          policies: [],
          policy_version: "1",
          approval_id: null,
          visible: true,
        },
        scope: "all",
      }),
    });
  }

  beforeAll(async () => {
    nats = stack.use(await startNats());
    stack.use(await serveOne(stack.use(await nats.connect("jobs")), "jobs"));
    stack.use(await serveOne(stack.use(await nats.connect("policy")), "policy"));
    const bus = stack.use(await nats.connect("gateway"));
    const scrapeAddress = parseLoopback("127.0.0.1:0");
    gateway = stack.use(await startGateway({ socketPath, bus, ...toRoles({}), log: captureLog(), scrapeAddress }));
  });
  afterAll(() => stack.disposeAsync());

  async function get(accept?: string, path = "/v0/metrics") {
    const headers = accept === undefined ? {} : { Accept: accept };
    const response = await requestUnix({ socketPath, method: "GET", path, headers });
    const text = await readText(response.body, 1_000_000);
    return { status: response.status, type: response.headers["content-type"], text };
  }
  const json = async () => Metrics.parse(JSON.parse((await get()).text));
  const scrape = (headers: Record<string, string> = {}, path = "/metrics", method = "GET") =>
    raw(gateway.scrapePort ?? 0, `${method} ${path} HTTP/1.1\r\n${toLines({ Host: "127.0.0.1", ...headers })}`);

  it("are one document of all that answer, and name what does not", async () => {
    const found = await json();
    expect(found.services.map(({ resource }) => resource["service.name"])).toEqual([
      ...["aether-gateway", "aether-jobs", "aether-policy"],
    ]);
    const served = ["jobs", "policy"];
    expect(found.missing).toEqual(Object.keys(services).filter((name) => !served.includes(name)));
    for (const { metrics } of found.services.slice(1)) {
      expect(metrics).toContainEqual(expect.objectContaining({ name: "aether.test.count", type: "counter" }));
    }
  });

  it("count and time every operation and every request, by names of bounded number", async () => {
    for (let n = 0; n < 3; n++) {
      await get(undefined, "/v0/jobs/job_01kas4f8m0w3v5x7z9b2d4f6h8");
      await get(undefined, `/v0/nowhere/${n}`);
    }
    const points = (await json()).services.flatMap(({ metrics }) =>
      metrics.flatMap((metric) =>
        metric.type === "histogram" ? metric.points.map((p) => ({ ...p, name: metric.name })) : [],
      ),
    );
    const refused = { "aether.operation": "jobs.get", "aether.outcome": "refused" };
    expect(points).toContainEqual(expect.objectContaining({ attributes: refused, count: 3 }));
    const routed = { "http.request.method": "GET", "http.route": "/v0/jobs/{id}", "http.response.status_code": 404 };
    expect(points).toContainEqual(expect.objectContaining({ attributes: routed, count: 3 }));
    const lost = { "http.request.method": "GET", "http.response.status_code": 404 };
    expect(points).toContainEqual(expect.objectContaining({ attributes: lost, count: 3 }));
    expect(JSON.stringify(points)).not.toMatch(/job_|nowhere/);
  });

  it.each([
    ["text/plain", "prometheus", "text/plain; version=0.0.4; charset=utf-8"],
    ["application/openmetrics-text", "openmetrics", "application/openmetrics-text; version=1.0.0; charset=utf-8"],
  ] as const)(
    "as %s are what scrapers take, and counters never go down between two of them",
    async (accept, format, type) => {
      const read = async () => {
        const answer = await get(accept);
        expect([answer.status, answer.type]).toEqual([200, type]);
        return parseExposition(answer.text, format);
      };
      const before = await read();
      const after = await read();
      for (const [name, { type: kind, samples }] of before) {
        if (kind === "gauge") continue;
        for (const { name: sample, labels, value } of samples) {
          const found = after.get(name)?.samples.find((one) => one.name === sample && same(one.labels, labels));
          expect(found?.value, `${sample} ${JSON.stringify(labels)}`).toBeGreaterThanOrEqual(value);
        }
      }
      const own = after.get("http_server_request_duration_seconds")?.samples ?? [];
      expect(own.some(({ labels }) => labels.http_route === "/v0/metrics")).toBe(true);
    },
  );

  it("are for whom policy allows it", async () => {
    outcome = "deny";
    try {
      for (const accept of [undefined, "text/plain"]) {
        const answer = await get(accept);
        expect([answer.status, answer.type]).toEqual([403, "application/problem+json"]);
      }
    } finally {
      outcome = "allow";
    }
    expect((await get(undefined, "/v0/metrics?colour=red")).status).toBe(400);
  });

  it("are served to scrapers at /metrics alone, and not to pages", async () => {
    const answer = await scrape({ Accept: "application/openmetrics-text" });
    expect(answer.status).toBe(200);
    parseExposition(answer.body, "openmetrics");
    parseExposition((await scrape({ Host: `localhost:${gateway.scrapePort}` })).body, "prometheus");
    expect((await scrape({}, "/v0/metrics")).status).toBe(404);
    expect((await scrape({}, "/metrics?x=1")).status).toBe(404);
    expect((await scrape({}, "/metrics", "POST")).status).toBe(405);
    expect((await scrape({ Host: "rebound.example" })).status).toBe(403);
    expect((await scrape({ Origin: "http://localhost" })).status).toBe(403);
    expect((await scrape({ "X-Large": "x".repeat(20_000) })).status).toBe(431);
  });

  it("are offered on the loopback interface and nowhere else", () => {
    expect(parseLoopback("127.0.0.1:9464")).toEqual({ host: "127.0.0.1", port: 9464 });
    expect(parseLoopback("[::1]:1")).toEqual({ host: "::1", port: 1 });
    for (const text of [
      "0.0.0.0:9464",
      "[::]:9464",
      "10.0.0.1:9464",
      "localhost:9464",
      "127.0.0.1",
      "127.0.0.1:99999",
      ":9464",
    ]) {
      expect(() => parseLoopback(text), text).toThrow();
    }
  });

  it("can be scraped while policy is away, and not be read over the socket", async () => {
    await using lonely = await startNats();
    await using bus = await lonely.connect("gateway");
    const found = await scrapeMetrics(bus, createRegistry());
    expect(found.missing.toSorted()).toEqual(Object.keys(services).toSorted());
    const envelope = {
      principal: { type: "User" as const, id: "0", roles: [] },
      request_id: "req_01kas4f8m0q2s4v6x8z0b2d4f6",
    };
    await expect(readMetrics(bus, createRegistry(), envelope)).rejects.toThrow(ProblemError);
  });
});

const toLines = (headers: Record<string, string>) =>
  `${Object.entries({ ...headers, Connection: "close" })
    .map(([name, value]) => `${name}: ${value}`)
    .join("\r\n")}\r\n\r\n`;

const same = (one: object, other: object) =>
  JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(other).sort());

function raw(port: number, bytes: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1" });
    let received = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      received += chunk;
    });
    socket.on("error", (error) => received === "" && reject(error));
    socket.on("close", () => {
      const at = received.indexOf("\r\n\r\n");
      resolve({ status: Number(received.split(" ")[1]), body: received.slice(at + 4) });
    });
    socket.write(bytes);
  });
}
