import type { Health } from "@aether/contracts";
import { formatMs } from "./format.ts";
import type { Output } from "./terminal.ts";
import { alignColumns, visible } from "./text.ts";

/** Prints a line per service. */
export function printHealth(out: Output, { services }: Health, indent = ""): void {
  const rows = services.map(({ name, up, version, latency_ms }) => [
    visible(name),
    up ? "up" : "down",
    visible(version ?? "-"),
    latency_ms === null ? "-" : latency_ms < 10 ? `${latency_ms.toFixed(1)} ms` : formatMs(latency_ms),
  ]);
  const [head = "", ...lines] = alignColumns([["SERVICE", "STATE", "VERSION", "LATENCY"], ...rows]);
  out.line(indent + out.paint("bold", head));
  for (const [i, line] of lines.entries()) {
    const service = services[i];
    if (!service) continue;
    out.line(indent + (service.up ? line : out.paint("red", line)));
    for (const why of service.degraded) out.line(`${indent}  ${out.paint("yellow", visible(why))}`);
  }
}
