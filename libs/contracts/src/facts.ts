// A fact about an act as people write it: `timeout_ms=8d`, `memory_bytes=2g`, `pool=default`, `hosts=[a:443,b:443]`.
import type { DecisionContext } from "./policy.ts";
import { parseDurationMs, parseSizeBytes } from "./units.ts";

/** Numbers, truths and lists as such; a duration or a size where the fact's name says its unit. */
export function parseFact(name: string, text: string): DecisionContext[string] {
  if (/^-?\d{1,15}$/.test(text)) return Number(text);
  if (text === "true" || text === "false") return text === "true";
  const list = /^\[(.*)\]$/.exec(text)?.[1];
  if (list !== undefined) return list.split(",").filter((item) => item !== "");
  const unit = name.endsWith("_ms") ? parseDurationMs : name.endsWith("_bytes") ? parseSizeBytes : () => null;
  return unit(text) ?? text;
}
