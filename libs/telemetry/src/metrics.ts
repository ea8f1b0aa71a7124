// Numbers about a service, in OpenTelemetry's data model in small: counters, gauges that are read when they are asked for, and
// histograms with explicit bounds; cumulative since the registry was made.
//
// Measuring never fails and never grows: what is no number is passed over, a gauge that cannot be read is left out, and beyond
// a bounded number of attribute sets everything is counted under `otel.metric.overflow`, as OpenTelemetry has it. Attributes
// are few and of few values: names of operations, states and hosts, never ids.

export type Attributes = Readonly<Record<string, string | number | boolean>>;

interface Described {
  name: string;
  unit: string;
  description: string;
}
interface NumberPoint {
  attributes: Attributes;
  value: number;
}
interface HistogramPoint {
  attributes: Attributes;
  count: number;
  sum: number;
  /** One more than there are bounds; not cumulative. */
  bucket_counts: number[];
}
export type Metric =
  | (Described & { type: "counter" | "gauge"; points: NumberPoint[] })
  | (Described & { type: "histogram"; explicit_bounds: number[]; points: HistogramPoint[] });

export interface Counter {
  add(value: number, attributes?: Attributes): void;
}
export interface Histogram {
  record(value: number, attributes?: Attributes): void;
}
type Reading = number | NumberPoint[];

export interface Registry {
  /** Since when everything is counted, RFC 3339. */
  readonly startTime: string;
  counter(name: string, unit: string, description: string): Counter;
  /** A counter that is kept elsewhere and read when it is asked for. */
  total(name: string, unit: string, description: string, read: () => number): void;
  gauge(name: string, unit: string, description: string, read: () => Reading | Promise<Reading>): void;
  histogram(name: string, unit: string, description: string, bounds: readonly number[]): Histogram;
  collect(): Promise<Metric[]>;
}

/** Bounds for what a request takes, seconds; those of OpenTelemetry's HTTP conventions, with finer ones below. */
export const durationBounds: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

const setsMax = 500;
const overflow: Attributes = { "otel.metric.overflow": true };

export function createRegistry(now: Date = new Date()): Registry {
  const metrics: (() => Metric | Promise<Metric>)[] = [];
  return {
    startTime: now.toISOString(),
    counter(name, unit, description) {
      const points = createPoints((attributes) => ({ attributes, value: 0 }));
      metrics.push(() => ({ ...{ name, type: "counter", unit, description }, points: points.all() }));
      return {
        add(value, attributes) {
          if (value >= 0 && Number.isFinite(value)) points.of(attributes).value += value;
        },
      };
    },
    total(name, unit, description, read) {
      metrics.push(() => ({
        ...{ name, type: "counter", unit, description },
        points: [{ attributes: {}, value: read() }],
      }));
    },
    gauge(name, unit, description, read) {
      metrics.push(async () => {
        const found = await read();
        const points = typeof found === "number" ? [{ attributes: {}, value: found }] : found.slice(0, setsMax);
        const finite = points.filter(({ value }) => Number.isFinite(value));
        return { ...{ name, type: "gauge", unit, description }, points: finite };
      });
    },
    histogram(name, unit, description, bounds) {
      const points = createPoints(
        (attributes): HistogramPoint => ({
          attributes,
          count: 0,
          sum: 0,
          bucket_counts: Array(bounds.length + 1).fill(0),
        }),
      );
      const described = { name, type: "histogram" as const, unit, description, explicit_bounds: [...bounds] };
      metrics.push(() => ({ ...described, points: points.all() }));
      return {
        record(value, attributes) {
          if (!Number.isFinite(value)) return;
          const point = points.of(attributes);
          const found = bounds.findIndex((bound) => value <= bound);
          const bucket = found < 0 ? bounds.length : found;
          point.count++;
          point.sum += value;
          point.bucket_counts[bucket] = (point.bucket_counts[bucket] ?? 0) + 1;
        },
      };
    },
    async collect() {
      const all = await Promise.allSettled(metrics.map(async (metric) => structuredClone(await metric())));
      return all.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    },
  };
}

/** One point for each set of attributes, in the order in which they first came. */
function createPoints<P>(make: (attributes: Attributes) => P): { of(attributes?: Attributes): P; all(): P[] } {
  const points = new Map<string, P>();
  const of = (attributes: Attributes): P => {
    const key = JSON.stringify(Object.entries(attributes));
    const known = points.get(key);
    if (known) return known;
    if (points.size >= setsMax && attributes !== overflow) return of(overflow);
    const made = make(attributes);
    points.set(key, made);
    return made;
  };
  return { of: (attributes = {}) => of(attributes), all: () => [...points.values()] };
}
