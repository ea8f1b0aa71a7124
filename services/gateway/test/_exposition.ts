// A strict reader of Prometheus' text format 0.0.4 and of OpenMetrics 1.0: what the formats do not allow it refuses, also what
// most scrapers would let pass. Only the parts that Aether writes are known.

interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}
export interface Family {
  type: string;
  help: string;
  samples: Sample[];
}

const suffixes: Record<"prometheus" | "openmetrics", Record<string, string[]>> = {
  prometheus: { counter: [""], gauge: [""], histogram: ["_bucket", "_sum", "_count"] },
  openmetrics: { counter: ["_total"], gauge: [""], info: ["_info"], histogram: ["_bucket", "_sum", "_count"] },
};

/** The families of a text by their names, in its order; throws at the first thing that is not allowed. */
export function parseExposition(text: string, format: "prometheus" | "openmetrics"): Map<string, Family> {
  const families = new Map<string, Family>();
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const lines = text.slice(0, -1).split("\n");
  if (format === "openmetrics" && lines.pop() !== "# EOF") throw new Error("# EOF is missing");
  let current: { name: string; family: Family } | null = null;
  const seen = new Set<string>();
  for (const line of lines) {
    const described = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) ?(.*)$/.exec(line);
    if (described) {
      const [, what, name = "", rest = ""] = described;
      if (what === "HELP") {
        if (families.has(name)) throw new Error(`${name} is told twice`);
        current = {
          name,
          family: {
            type: "",
            help: unquote(rest, format === "openmetrics" ? /\\(["\\n])/g : /\\([\\n])/g),
            samples: [],
          },
        };
        families.set(name, current.family);
      } else {
        if (current?.name !== name || current.family.type !== "") throw new Error(`TYPE of ${name} out of its place`);
        if (!(rest in suffixes[format])) throw new Error(`there is no type ${rest}`);
        current.family.type = rest;
      }
      continue;
    }
    if (!current) throw new Error(`not expected: ${line}`);
    const sample = parseSample(line);
    const allowed = suffixes[format][current.family.type]?.map((suffix) => current?.name + suffix) ?? [];
    if (!allowed.includes(sample.name)) throw new Error(`${sample.name} does not belong to ${current.name}`);
    const key = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(key)) throw new Error(`twice: ${line}`);
    seen.add(key);
    current.family.samples.push(sample);
  }
  for (const [name, family] of families) if (family.type === "histogram") assertHistogram(name, family.samples);
  return families;
}

function parseSample(line: string): Sample {
  const head = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
  if (!head) throw new Error(`no sample: ${line}`);
  const [, name = "", inside = "", number = ""] = head;
  const labels: Record<string, string> = {};
  let rest = inside;
  while (rest !== "") {
    const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(?:,(?=[a-zA-Z_])|$)/.exec(rest);
    if (!label) throw new Error(`no labels: ${inside}`);
    const [whole, key = "", value = ""] = label;
    if (key in labels || key.startsWith("__")) throw new Error(`the label ${key} is not allowed: ${line}`);
    labels[key] = unquote(value, /\\(["\\n])/g);
    rest = rest.slice(whole.length);
  }
  const value =
    number === "+Inf" ? Number.POSITIVE_INFINITY : number === "-Inf" ? Number.NEGATIVE_INFINITY : Number(number);
  if (Number.isNaN(value) || !/^([+-]Inf|[-+0-9.e]+)$/.test(number)) throw new Error(`no number: ${line}`);
  return { name, labels, value };
}

/** Of each set of labels: buckets in the order of `le`, never less than the one before, +Inf last and equal to the count. */
function assertHistogram(name: string, samples: readonly Sample[]): void {
  const sets = Map.groupBy(samples, ({ labels: { le: _, ...labels } }) =>
    JSON.stringify(Object.entries(labels).sort()),
  );
  for (const set of sets.values()) {
    const buckets = set.filter((one) => one.name.endsWith("_bucket"));
    const bounds = buckets.map(({ labels }) => (labels.le === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels.le)));
    const rising = (values: readonly number[]) =>
      values.every((value, at) => at === 0 || value >= (values[at - 1] ?? 0));
    const count = set.find((one) => one.name.endsWith("_count"))?.value;
    if (bounds.at(-1) !== Number.POSITIVE_INFINITY || new Set(bounds).size !== bounds.length || !rising(bounds))
      throw new Error(`${name}: the bounds are not in order`);
    if (!rising(buckets.map(({ value }) => value)) || buckets.at(-1)?.value !== count)
      throw new Error(`${name}: the buckets are not cumulative`);
    if (!set.some((one) => one.name.endsWith("_sum"))) throw new Error(`${name}: there is no sum`);
  }
}

function unquote(text: string, pattern: RegExp): string {
  if (text.replaceAll(pattern, "").includes("\\")) throw new Error(`a stray backslash: ${text}`);
  return text.replaceAll(pattern, (_, escaped: string) => (escaped === "n" ? "\n" : escaped));
}
