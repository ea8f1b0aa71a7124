// Spans to a real HTTP server that plays the collector: takes, refuses, is away.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { openTracing } from "./open-tracing.ts";

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

interface Got {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: object[];
  status: { code?: number; message?: string };
}

/** A collector that answers with `status`, and what it was sent. */
async function startCollector(status: () => number = () => 200) {
  const got: Got[] = [];
  const heads: { url: string | undefined; type: string | undefined }[] = [];
  const server: Server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString();
    heads.push({ url: request.url, type: request.headers["content-type"] });
    if (status() === 200)
      got.push(
        ...JSON.parse(body).resourceSpans.flatMap(
          (one: { scopeSpans: { spans: Got[] }[] }) => one.scopeSpans[0]?.spans ?? [],
        ),
      );
    response.writeHead(status()).end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    ...{ got, heads, endpoint: `http://127.0.0.1:${port}` },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

describe("tracing", () => {
  it("is nothing where no collector is configured", async () => {
    expect(await openTracing(undefined)).toBeNull();
    expect(await openTracing("")).toBeNull();
    await expect(openTracing("ftp://127.0.0.1")).rejects.toThrow("http");
  });

  it("sends spans below their parents, with times, attributes and how they ended", async () => {
    await using collector = await startCollector();
    {
      await using tracing = await openTracing(`${collector.endpoint}/`);
      const tracer = tracing?.tracer("jobs");
      const outer = tracer?.start("outer", "server", parent, { a: "x", b: 1, c: 0.5, d: true });
      const inner = tracer?.start("inner", "client", outer?.traceparent);
      inner?.end("it broke");
      inner?.end();
      outer?.set({ e: 2 });
      outer?.end();
      tracer?.start("root", "internal", undefined)?.end();
    }
    expect(collector.heads[0]).toEqual({ url: "/v1/traces", type: "application/json" });
    const [inner, outer, root] = collector.got;
    expect(collector.got).toHaveLength(3);
    expect(outer).toMatchObject({
      traceId: parent.slice(3, 35),
      parentSpanId: parent.slice(36, 52),
      name: "outer",
      kind: 2,
      status: {},
    });
    expect(outer?.attributes).toEqual([
      { key: "a", value: { stringValue: "x" } },
      { key: "b", value: { intValue: "1" } },
      { key: "c", value: { doubleValue: 0.5 } },
      { key: "d", value: { boolValue: true } },
      { key: "e", value: { intValue: "2" } },
    ]);
    expect(inner).toMatchObject({
      ...{ traceId: outer?.traceId, parentSpanId: outer?.spanId, kind: 3 },
      status: { code: 2, message: "it broke" },
    });
    expect(root?.traceId).toMatch(/^[0-9a-f]{32}$/);
    expect(root).not.toHaveProperty("parentSpanId");
    for (const span of collector.got) {
      expect(BigInt(span.endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(span.startTimeUnixNano));
      expect(Math.abs(Number(BigInt(span.startTimeUnixNano) / 1_000_000n) - Date.now())).toBeLessThan(60_000);
    }
  });

  it("records nothing of a trace that its caller does not record", async () => {
    await using collector = await startCollector();
    {
      await using tracing = await openTracing(collector.endpoint);
      expect(tracing?.tracer("jobs").start("x", "server", parent.replace(/01$/, "00"))).toBeNull();
    }
    expect(collector.got).toEqual([]);
  });

  it("keeps a bounded number of spans while the collector is away, counts what it gives up, and does not wait at the end", async () => {
    const tracing = await openTracing("http://127.0.0.1:1");
    const tracer = tracing?.tracer("jobs");
    for (let n = 0; n < 10_000; n++) tracer?.start("x", "internal", undefined)?.end();
    expect(tracing?.dropped).toBeGreaterThan(5_000);
    expect(tracing?.exported).toBe(0);
    const endedAt = performance.now();
    await tracing?.[Symbol.asyncDispose]();
    expect(performance.now() - endedAt).toBeLessThan(3_000);
  });

  it("sends again what the collector could not take, and gives up what it refuses", async () => {
    let status = 503;
    await using collector = await startCollector(() => status);
    const tracing = await openTracing(collector.endpoint);
    tracing?.tracer("jobs").start("patient", "internal", undefined)?.end();
    await expect.poll(() => collector.heads.length, { timeout: 5_000 }).toBeGreaterThan(0);
    status = 200;
    await tracing?.[Symbol.asyncDispose]();
    expect(collector.got.map(({ name }) => name)).toEqual(["patient"]);
    status = 400;
    const refused = await openTracing(collector.endpoint);
    refused?.tracer("jobs").start("refused", "internal", undefined)?.end();
    await refused?.[Symbol.asyncDispose]();
    expect([refused?.exported, refused?.dropped]).toEqual([0, 1]);
  });
});
