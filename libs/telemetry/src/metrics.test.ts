import { describe, expect, it } from "vitest";
import { createRegistry } from "./metrics.ts";

describe("the registry", () => {
  it("counts up by attributes, and passes over what is no count", async () => {
    const registry = createRegistry();
    const counter = registry.counter("a.b", "{thing}", "Things");
    counter.add(1, { kind: "x" });
    counter.add(2, { kind: "x" });
    counter.add(1);
    for (const nonsense of [-1, Number.NaN, Number.POSITIVE_INFINITY]) counter.add(nonsense);
    expect(await registry.collect()).toEqual([
      {
        ...{ name: "a.b", type: "counter", unit: "{thing}", description: "Things" },
        points: [
          { attributes: { kind: "x" }, value: 3 },
          { attributes: {}, value: 1 },
        ],
      },
    ]);
  });

  it("puts what lies on a bound below it, and what is over the last one into the last bucket", async () => {
    const registry = createRegistry();
    const histogram = registry.histogram("a", "s", "", [1, 2]);
    for (const value of [0.5, 1, 1.5, 2, 2.5, 100, Number.NaN]) histogram.record(value);
    const [metric] = await registry.collect();
    expect(metric).toMatchObject({
      explicit_bounds: [1, 2],
      points: [{ count: 6, sum: 107.5, bucket_counts: [2, 2, 2] }],
    });
  });

  it("reads gauges when it is asked, and leaves out one that fails", async () => {
    const registry = createRegistry();
    let value = 1;
    registry.gauge("works", "1", "", async () => value);
    registry.gauge("fails", "1", "", () => {
      throw new Error("no");
    });
    registry.gauge("is nothing", "1", "", () => Number.NaN);
    value = 2;
    const metrics = await registry.collect();
    expect(metrics.map(({ name, points }) => [name, points])).toEqual([
      ["works", [{ attributes: {}, value: 2 }]],
      ["is nothing", []],
    ]);
  });

  it("stays bounded when attributes do not", async () => {
    const registry = createRegistry();
    const counter = registry.counter("a", "1", "");
    for (let n = 0; n < 5000; n++) counter.add(1, { n });
    const [metric] = await registry.collect();
    const points = metric?.type === "counter" ? metric.points : [];
    expect(points.length).toBeLessThanOrEqual(501);
    expect(points.at(-1)).toEqual({ attributes: { "otel.metric.overflow": true }, value: 4500 });
  });

  it("gives snapshots, not what it counts in", async () => {
    const registry = createRegistry();
    const histogram = registry.histogram("a", "s", "", [1]);
    histogram.record(0);
    const [before] = await registry.collect();
    histogram.record(0);
    expect(before).toMatchObject({ points: [{ count: 1, bucket_counts: [1, 0] }] });
  });
});
