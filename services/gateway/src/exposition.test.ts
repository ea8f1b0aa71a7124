// What scrapers read, held against the rules of both formats by a parser that takes nothing else.
import type { Metrics } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { parseExposition } from "../test/_exposition.ts";
import { formatMetrics } from "./exposition.ts";

const service = (name: string, metrics: Metrics["services"][number]["metrics"]): Metrics["services"][number] => ({
  resource: { "service.name": `aether-${name}`, "service.version": "0.1.0", "service.instance.id": `${name}-1` },
  start_time: "2026-11-23T10:00:00.000Z",
  metrics,
});
const document = (...services: Metrics["services"]): Metrics => ({
  ...{ schema: "aether.metrics/v0", time: "2026-11-23T10:00:00.000Z", temporality: "cumulative" },
  ...{ services, missing: [] },
});
const duration = (counts: number[], outcome: string) => ({
  ...{ name: "aether.operation.duration", unit: "s", description: "How long", type: "histogram" as const },
  explicit_bounds: [0.1, 1],
  points: [
    {
      attributes: { "aether.operation": "jobs.get", "aether.outcome": outcome },
      count: counts.reduce((sum, count) => sum + count, 0),
      ...{ sum: 1.5, bucket_counts: counts },
    },
  ],
});
const counter = (value: number, attributes: Record<string, string> = {}) => ({
  ...{
    name: "aether.jobs.ended",
    unit: "{job}",
    description: 'a "quoted" \\ and\nbroken line',
    type: "counter" as const,
  },
  points: [{ attributes, value }],
});
const everything = document(
  service("jobs", [
    duration([1, 2, 3], "ok"),
    counter(7, { "aether.job.state": 'fa"il\\ed\n' }),
    {
      name: "aether.logs.size",
      unit: "By",
      description: "",
      type: "counter",
      points: [{ attributes: {}, value: 1e21 }],
    },
    {
      name: "aether.load",
      unit: "1",
      description: "",
      type: "gauge",
      points: [{ attributes: { n: 3, on: true }, value: -0.5 }],
    },
    { name: "aether.nothing", unit: "s", description: "", type: "gauge", points: [] },
  ]),
  service("policy", [duration([0, 0, 4], "refused"), counter(1)]),
);

describe.each(["prometheus", "openmetrics"] as const)("metrics as %s", (format) => {
  const families = parseExposition(formatMetrics(everything, format), format);

  it("are each told once, with the unit and the type in the name", () => {
    const counters = format === "prometheus" ? "_total" : "";
    expect([...families.keys()]).toEqual([
      format === "prometheus" ? "target_info" : "target",
      "aether_operation_duration_seconds",
      `aether_jobs_ended${counters}`,
      `aether_logs_size_bytes${counters}`,
      "aether_load_ratio",
      "aether_nothing_seconds",
    ]);
  });

  it("have buckets that are cumulative, end at +Inf and agree with the count", () => {
    const samples = families.get("aether_operation_duration_seconds")?.samples ?? [];
    const of = (name: string, instance: string) =>
      samples
        .filter((one) => one.name.endsWith(name) && one.labels.service_instance_id === instance)
        .map(({ labels, value }) => [labels.le, value]);
    expect(of("_bucket", "jobs-1")).toEqual([
      ["0.1", 1],
      ["1", 3],
      ["+Inf", 6],
    ]);
    expect(of("_count", "jobs-1")).toEqual([[undefined, 6]]);
    expect(of("_sum", "jobs-1")).toEqual([[undefined, 1.5]]);
    expect(of("_bucket", "policy-1").at(-1)).toEqual(["+Inf", 4]);
  });

  it("keep every character of what they are told", () => {
    const counted = families.get(format === "prometheus" ? "aether_jobs_ended_total" : "aether_jobs_ended");
    expect(counted?.samples[0]).toMatchObject({
      ...{ name: "aether_jobs_ended_total", value: 7 },
      labels: { service_name: "aether-jobs", aether_job_state: 'fa"il\\ed\n' },
    });
    expect(counted?.help).toBe('a "quoted" \\ and\nbroken line');
    expect(families.get("aether_load_ratio")?.samples[0]).toMatchObject({
      labels: { n: "3", on: "true" },
      value: -0.5,
    });
  });
});
