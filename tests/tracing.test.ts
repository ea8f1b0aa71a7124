// One trace from curl's `traceparent` through everything that a job passes, told to a collector on this host.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { requireBackend, waitFor } from "@aether/testkit";
import { describe, expect, it } from "vitest";
import { type ProgramName, startAether } from "./_aether.ts";
import { createCurl } from "./_curl.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const callerSpan = "00f067aa0ba902b7";

interface Span {
  service: string;
  name: string;
  kind: number;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
}

async function startCollector() {
  const spans: Span[] = [];
  const server = createServer(async (request, response) => {
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString());
    for (const { resource, scopeSpans } of body.resourceSpans) {
      const service = resource.attributes[0].value.stringValue.replace("aether-", "");
      spans.push(...scopeSpans[0].spans.map((span: Span) => ({ ...span, service })));
    }
    response.end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const end = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
  return { spans, endpoint, [Symbol.asyncDispose]: end };
}

const traced = (endpoint: string) => {
  const names: ProgramName[] = ["gateway", "policy", "jobs", "events", "worker"];
  return Object.fromEntries(names.map((name) => [name, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }]));
};

describe.skipIf(missing)(`tracing${missing ? `: ${missing}` : ""}`, () => {
  it("a job is one trace, from its caller through gateway, jobs and policy to the worker's attempt and back", async () => {
    await using collector = await startCollector();
    await using aether = await startAether({ environment: traced(collector.endpoint) });
    const curl = createCurl(aether.socket);
    const spec = { command: ["true"], resources: { cpus: 0.5, memory: "64MiB" } };
    const header = `traceparent: 00-${traceId}-${callerSpan}-01`;
    const { body } = await curl.post("/v0/jobs?wait=30s", spec, "-H", header);
    const attempt = () => collector.spans.find(({ name }) => name === "job attempt");
    await waitFor("the spans of everything", () => attempt() && collector.spans.some(isChildOf(attempt()?.spanId)));
    const one = (service: string, name: string, kind: number, parent: string | undefined): Span => {
      const found = collector.spans.filter(
        (span) => span.service === service && span.name === name && span.kind === kind && span.parentSpanId === parent,
      );
      expect(found, `${service}: ${name} below ${parent}`).not.toHaveLength(0);
      return found[0] as Span;
    };
    const [server, client, internal] = [2, 3, 1];
    const http = one("gateway", "POST /v0/jobs", server, callerSpan);
    const submit = one("jobs", "jobs.submit", server, one("gateway", "jobs.submit", client, http.spanId).spanId);
    const decide = one("jobs", "policy.decide", client, submit.spanId);
    one("policy", "policy.decide", server, decide.spanId);
    const ran = one("worker", "job attempt", internal, submit.spanId);
    one("jobs", "jobs.report", server, one("worker", "jobs.report", client, ran.spanId).spanId);
    const ours = collector.spans.filter((span) => span.traceId === traceId);
    const ids = new Set([callerSpan, ...ours.map(({ spanId }) => spanId)]);
    expect(ours.filter(({ parentSpanId }) => !ids.has(parentSpanId ?? ""))).toEqual([]);
    const [event] = (await curl.get(`/v0/events?job_id=${JSON.parse(body).id}`)).body.split("\n");
    expect(JSON.parse(event ?? "").traceparent).toBe(`00-${traceId}-${submit.spanId}-01`);
    const { services } = await aether.client.metrics();
    const exported = services.flatMap(({ metrics }) => metrics.filter(({ name }) => name === "aether.traces.exported"));
    expect(exported).toHaveLength(4);
  });

  it("what belongs to no request is no trace, and jobs run as ever while the collector is away", async () => {
    const collector = await startCollector();
    await using aether = await startAether({ environment: traced(collector.endpoint) });
    const { jobs } = aether.client;
    const submit = () => jobs.submit({ command: ["true"], resources: { memory: "64MiB" } }, { wait: "30s" });
    expect((await submit()).state).toBe("succeeded");
    await waitFor("the attempt's span", () => collector.spans.some(({ name }) => name === "job attempt"));
    expect(collector.spans.filter(({ name }) => /^jobs\.(renew|claim|log)$/.test(name))).toEqual([]);
    await collector[Symbol.asyncDispose]();
    expect((await submit()).state).toBe("succeeded");
  });
});

const isChildOf =
  (parent: string | undefined) =>
  ({ parentSpanId }: Span) =>
    parent !== undefined && parentSpanId === parent;
