import type { Metric } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { formatBytes, formatMs } from "../format.ts";
import { printJson } from "../terminal.ts";
import { alignColumns, visible } from "../text.ts";

const options = {
  prometheus: { type: "flag", about: "As text for Prometheus" },
} as const satisfies Options;

export const metrics = defineCommand({
  usage: "metrics [--prometheus]",
  about: "Numbers of every service since its start; of times how many there were, their mean, and what most were below",
  options,
  operands: { min: 0, max: 0, name: "" },
  notes: [
    "A scraper reads them from a port of the loopback interface: AETHER_METRICS_LISTEN=127.0.0.1:9464 aether up.",
  ],
  async run({ values, json, terminal: { out }, connect }) {
    const client = await connect();
    if (values.prometheus) {
      out.write(await client.metricsText("prometheus"));
      return exitCodes.done;
    }
    const found = await client.metrics();
    if (json) printJson(out, found);
    else {
      const rows = found.services.flatMap((service) =>
        service.metrics.flatMap((metric) => toRows(service.resource["service.name"].replace(/^aether-/, ""), metric)),
      );
      const [head = "", ...lines] = alignColumns([["SERVICE", "METRIC", "OF", "VALUE"], ...rows]);
      out.line(out.paint("bold", head));
      for (const line of lines) out.line(line);
      for (const name of found.missing) out.line(out.paint("red", `${visible(name)} does not answer`));
    }
    return exitCodes.done;
  },
});

function toRows(service: string, metric: Metric): string[][] {
  const row = (attributes: object, value: string) => [
    ...[visible(service), visible(metric.name.replace(/^aether\./, ""))],
    visible(Object.values(attributes).join(" ")) || "-",
    value,
  ];
  if (metric.type !== "histogram") {
    return metric.points.map(({ attributes, value }) => row(attributes, formatValue(value, metric.unit)));
  }
  return metric.points.map(({ attributes, count, sum, bucket_counts }) => {
    const most = boundOf(metric.explicit_bounds, bucket_counts, count * 0.99);
    const below = most === undefined ? "" : `, 99 % below ${formatValue(most, metric.unit)}`;
    return row(attributes, `${count} times, mean ${formatValue(sum / count, metric.unit)}${below}`);
  });
}

/** The bound that so many are below; undefined where they are over the last one. */
function boundOf(bounds: readonly number[], counts: readonly number[], wanted: number): number | undefined {
  let below = 0;
  return bounds.find((_, index) => {
    below += counts[index] ?? 0;
    return below >= wanted;
  });
}

function formatValue(value: number, unit: string): string {
  if (unit === "By") return formatBytes(value);
  if (unit === "s") return value < 0.01 ? `${(value * 1000).toFixed(1)} ms` : formatMs(value * 1000);
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}
