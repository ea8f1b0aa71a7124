// `./aether bench [names…]`: measures Aether beside the raw primitives in the same run and prints the ratios. Not a test:
// nothing fails here. docs/benchmarks.md keeps figures and explains what misses its aim.
import { benchArtifacts } from "./artifacts.ts";
import { benchAuditVerify } from "./audit-verify.ts";
import { benchDecide } from "./decide.ts";
import { benchEvents } from "./events.ts";
import { benchFirstLine } from "./first-line.ts";
import { benchGet } from "./get.ts";
import { benchList } from "./list.ts";
import { benchLogs } from "./logs.ts";
import type { Figure } from "./measure.ts";
import { benchMemory } from "./memory.ts";
import { benchMemorySearch } from "./memory-search.ts";
import { benchNoop } from "./noop.ts";
import { benchObserve } from "./observe.ts";
import { benchRetrieval } from "./retrieval.ts";
import { benchSubmit } from "./submit.ts";

const benches: Record<string, () => Promise<Figure[]>> = {
  submit: benchSubmit,
  get: benchGet,
  "first-line": benchFirstLine,
  logs: benchLogs,
  noop: benchNoop,
  list: benchList,
  decide: benchDecide,
  "audit-verify": benchAuditVerify,
  artifacts: benchArtifacts,
  events: benchEvents,
  observe: benchObserve,
  memory: benchMemory,
  retrieval: benchRetrieval,
  "memory-search": benchMemorySearch,
};

const asked = process.argv.slice(2).filter((word) => word !== "--json");
const json = process.argv.includes("--json");
const unknown = asked.filter((name) => !(name in benches));
if (unknown.length > 0) {
  console.error(`there is no bench ${unknown.join(", ")}; there are: ${Object.keys(benches).join(", ")}`);
  process.exit(2);
}
for (const [name, bench] of Object.entries(benches)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  if (process.stderr.isTTY) console.error(`measuring ${name} …`);
  for (const figure of await bench()) console.log(json ? JSON.stringify(figure) : format(figure));
}

function format({ name, value, unit, baseline, ratio, aim, met, note }: Figure): string {
  const against = baseline ? `, ${round(ratio)}× of ${baseline.name} (${round(baseline.value)} ${unit})` : "";
  return `${met ? "meets " : "misses"}  ${name}: ${round(value)} ${unit}${against}; aim ${aim}${note ? `; ${note}` : ""}`;
}

function round(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}
