// Metrics as the text that scrapers read: Prometheus' 0.0.4 and OpenMetrics 1.0. Pure.
//
// Names follow OpenTelemetry's rules for Prometheus: dots become underscores, the unit is the name's end, counters end in
// `_total`, and buckets are cumulative. Who measured is on every sample: two instances of a service are two series.
import type { Metric, Metrics, ServiceMetrics } from "@aether/contracts";

export type TextFormat = "prometheus" | "openmetrics";

/** Media type of each format. */
export const textTypes: Record<TextFormat, string> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

const units: Record<string, string> = { s: "seconds", ms: "milliseconds", By: "bytes", "1": "ratio" };

type Labels = Record<string, string | number | boolean>;
type Sample = (name: string, labels: Labels, value: number) => string;

/** The whole document as text. Samples of one name stand together, whoever measured them. */
export function formatMetrics({ services }: Metrics, format: TextFormat): string {
  const measured = services.flatMap((service) => service.metrics.map((metric) => ({ service, metric })));
  const families = [...Map.groupBy(measured, ({ metric }) => familyOf(metric)).values()];
  const text = families.map((members) => formatFamily(members, format)).join("");
  return `${formatTargets(services, format)}${text}${format === "openmetrics" ? "# EOF\n" : ""}`;
}

function formatFamily(members: { service: ServiceMetrics; metric: Metric }[], format: TextFormat): string {
  const first = members[0]?.metric;
  if (!first) return "";
  const family = familyOf(first);
  const described = first.type === "counter" && format === "prometheus" ? `${family}_total` : family;
  const samples = members
    // Of one name and two types only the first is told: a scraper would refuse the whole answer.
    .filter(({ metric }) => metric.type === first.type)
    .flatMap(({ service, metric }) => samplesOf(metric, family, identityOf(service)));
  return `${header(described, first.type, first.description, format)}${samples.join("")}`;
}

function samplesOf(metric: Metric, family: string, identity: Labels): string[] {
  if (metric.type !== "histogram") {
    const name = metric.type === "counter" ? `${family}_total` : family;
    return metric.points.map(({ attributes, value }) => sample(name, { ...identity, ...attributes }, value));
  }
  const { explicit_bounds: bounds, points } = metric;
  return points.flatMap(({ attributes, count, sum, bucket_counts }) => {
    const labels = { ...identity, ...attributes };
    let below = 0;
    const buckets = bounds.map((bound, index) => {
      below += bucket_counts[index] ?? 0;
      return sample(`${family}_bucket`, { ...labels, le: formatValue(bound) }, below);
    });
    return [
      ...buckets,
      sample(`${family}_bucket`, { ...labels, le: "+Inf" }, count),
      sample(`${family}_sum`, labels, sum),
      sample(`${family}_count`, labels, count),
    ];
  });
}

function formatTargets(services: readonly ServiceMetrics[], format: TextFormat): string {
  const isOpen = format === "openmetrics";
  const lines = services.map((service) =>
    sample("target_info", { ...identityOf(service), service_version: service.resource["service.version"] }, 1),
  );
  return header(isOpen ? "target" : "target_info", isOpen ? "info" : "gauge", "Who measured", format) + lines.join("");
}

function header(name: string, type: string, description: string, format: TextFormat): string {
  const escaped = description.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  const help = format === "openmetrics" ? escaped.replaceAll('"', '\\"') : escaped;
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

const sample: Sample = (name, labels, value) => {
  const text = Object.entries(labels).map(([label, one]) => `${toName(label)}="${escapeLabel(String(one))}"`);
  return `${name}{${text.join(",")}} ${formatValue(value)}\n`;
};

function identityOf({ resource }: ServiceMetrics): Labels {
  return { service_name: resource["service.name"], service_instance_id: resource["service.instance.id"] };
}

/** The name without `_total`; units in braces are words about what is counted and no part of it. */
function familyOf({ name, unit, type }: Metric): string {
  const base = toName(name).replace(/_total$/, "");
  const ending = unit === "1" && type !== "gauge" ? undefined : units[unit];
  return ending === undefined || base.endsWith(`_${ending}`) ? base : `${base}_${ending}`;
}

function toName(text: string): string {
  const name = text.replaceAll(/[^a-zA-Z0-9_]+/g, "_");
  return /^[0-9]/.test(name) ? `_${name}` : name;
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function formatValue(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}
