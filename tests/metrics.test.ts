// The numbers of the whole system against what really happened, and where nobody who is not meant to may read them.
import type { Metric, Metrics } from "@aether/contracts";
import { requireBackend, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";

const missing = requireBackend("nats") ?? requireBackend("bubblewrap");
const small = { resources: { cpus: 0.5, memory: "64MiB" } };

describe.skipIf(missing)(`metrics of everything${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let found: Metrics;
  beforeAll(async () => {
    aether = await startAether();
    const { jobs, events } = aether.client;
    for (const command of [["true"], ["false"], ["sh", "-c", "echo 1; echo 22"]]) {
      await jobs.submit({ ...small, command }, { wait: "30s" });
    }
    await expect(jobs.submit({ command: ["true"], timeout: "8d" })).rejects.toThrow();
    await jobs.submit({ command: ["true"], pool: "elsewhere" });
    await events.emit({ specversion: "1.0", id: "1", type: "com.example.test" });
    await waitFor("every event to be told, and a checkpoint", async () => {
      found = await aether.client.metrics();
      const isSigned = value("policy", "aether.audit.checkpoint.age") !== undefined;
      return isSigned && value("events", "aether.events.waiting") === 0;
    });
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  function points(service: string, name: string): Metric["points"] {
    const of = found.services.find(({ resource }) => resource["service.name"] === `aether-${service}`);
    return of?.metrics.find((metric) => metric.name === name)?.points ?? [];
  }
  /** The value, or how many there are of a histogram, of the point with these attributes. */
  function value(service: string, name: string, attributes: Record<string, string> = {}): number | undefined {
    const point = points(service, name).find((one) =>
      Object.entries(attributes).every(([key, wanted]) => one.attributes[key] === wanted),
    );
    return point && ("count" in point ? point.count : point.value);
  }

  it("count jobs, their ends and their logs as they were", () => {
    const jobs = (name: string, state?: string) => value("jobs", name, state ? { "aether.job.state": state } : {});
    expect(jobs("aether.jobs.submitted")).toBe(4);
    expect(jobs("aether.jobs.started")).toBe(3);
    expect(jobs("aether.jobs.ended", "succeeded")).toBe(2);
    expect(jobs("aether.jobs.ended", "failed")).toBe(1);
    expect(jobs("aether.jobs.duration", "failed")).toBe(1);
    expect(jobs("aether.jobs.queue.wait")).toBe(3);
    expect(jobs("aether.jobs.current", "queued")).toBe(1);
    expect(jobs("aether.jobs.current", "running")).toBe(0);
    expect([jobs("aether.logs.lines"), jobs("aether.logs.size")]).toEqual([2, 5]);
    expect(value("jobs", "aether.worker.slots", { "host.name": "host-a" })).toBeGreaterThan(0);
    expect(value("jobs", "aether.worker.running", { "host.name": "host-a" })).toBe(0);
  });

  it("count decisions and their records", () => {
    const decided = (action: string, outcome: string) =>
      value("policy", "aether.policy.decisions", { "aether.action": action, "aether.outcome": outcome });
    expect([decided("submit_job", "allow"), decided("submit_job", "deny")]).toEqual([4, 1]);
    expect(decided("start_job", "allow")).toBe(3);
    expect(value("policy", "aether.policy.duration", { "aether.action": "start_job" })).toBe(3);
    expect(value("policy", "aether.audit.append.duration")).toBeGreaterThan(8);
    expect(value("policy", "aether.audit.seq")).toBeGreaterThan(8);
    expect(value("policy", "aether.audit.checkpoint.age")).toBeGreaterThanOrEqual(0);
    expect(value("policy", "aether.audit.refused") ?? 0).toBe(0);
  });

  it("count events, derived and emitted", () => {
    expect(value("events", "aether.events.derived", { "aether.source": "jobs" })).toBe(3 * 4 + 1);
    expect(value("events", "aether.events.emitted")).toBe(1);
    expect(value("events", "aether.events.sequence")).toBe(14);
  });

  it("count and time every operation, by how it ended", () => {
    const asked = (service: string, operation: string, outcome: string) =>
      value(service, "aether.operation.duration", { "aether.operation": operation, "aether.outcome": outcome });
    expect([asked("jobs", "jobs.submit", "ok"), asked("jobs", "jobs.submit", "refused")]).toEqual([4, 1]);
    expect(asked("policy", "policy.decide", "ok")).toBeGreaterThan(8);
    const route = { "http.route": "/v0/jobs", "http.request.method": "POST" };
    expect(value("gateway", "http.server.request.duration", route)).toBe(4);
  });

  it("name no job, user, or command", () => {
    const attributes = found.services.flatMap(({ metrics }) =>
      metrics.flatMap((metric) => metric.points.map((point) => point.attributes)),
    );
    expect(JSON.stringify(attributes)).not.toMatch(/job_0|req_|user:|echo/);
    expect(attributes.length).toBeLessThan(500);
  });

  it("are there for scrapers while policy is away, where the operator opened a port", async () => {
    await using open = await startAether({
      worker: false,
      environment: { gateway: { AETHER_METRICS_LISTEN: "127.0.0.1:0" } },
    });
    const port = await waitFor(
      "the port",
      () => /"port":(\d+),"msg":"metrics are served/.exec(open.log("gateway"))?.[1],
    );
    const scrape = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(await scrape()).toContain('aether_policy_decisions_total{service_name="aether-policy"');
    await open.programs.policy.kill();
    const text = await scrape();
    expect(text).toContain('aether_jobs_current{service_name="aether-jobs"');
    expect(text).not.toContain("aether-policy");
    await expect(open.client.metrics()).rejects.toThrow();
  });
});
