// What people are shown of an act, so that nothing in it misleads: text of others is made visible and cut, lists are cut too, and
// what is cut says how much there is and which digest the whole has. And what a grant would allow, in a sentence.
import { cutText } from "@aether/bus";
import { type DecisionContext, formatDuration, type GrantRule, type Preview, visible } from "@aether/contracts";

interface Sizes {
  chars: number;
  items: number;
}

const usual: Sizes = { chars: 1000, items: 100 };
const tight: Sizes = { chars: 120, items: 32 };
const usualMax = 16_384;

/** The preview as it is stored and shown. */
export function showPreview(preview: Preview): Preview {
  const shown = showValue(preview, usual) as Preview;
  return JSON.stringify(shown).length <= usualMax ? shown : (showValue(preview, tight) as Preview);
}

/** A text of others as it is stored and shown. */
export function showText(text: string, maxChars = usual.chars): string {
  const shown = visible(text.slice(0, maxChars));
  if (text.length <= maxChars && shown.length <= maxChars) return shown;
  return `${shown.slice(0, maxChars)}${cutText(text, 0)}`;
}

/** The sentence of a rule, which says everything that the rule's data does. */
export function wordsOf(rule: Omit<GrantRule, "words">, lastsMs: number): string {
  const { principal, action, resource, facts, intent_id } = rule;
  const about = `${resource.type} of ${resource.owner ?? "nobody"}`;
  const within = Object.entries(facts).map(([name, value]) => showFact(name, value));
  const where = intent_id === null ? "" : `, under intent ${intent_id}`;
  const limits = within.length === 0 ? "" : `, with ${within.join(", ")}`;
  return visible(
    `${principal} may ${action} (${about}) without asking for ${formatDuration(lastsMs)}${limits}${where}`,
  );
}

function showFact(name: string, value: DecisionContext[string]): string {
  if (Array.isArray(value)) return `${name} within [${value.join(", ")}]`;
  if (typeof value !== "number") return `${name} ${value}`;
  const [, bare = name, unit] = /^(.*)_(bytes|ms|milli)$/.exec(name) ?? [];
  if (unit === "ms") return `${bare} at most ${formatDuration(value)}`;
  if (unit === "milli") return `${bare} at most ${value / 1000}`;
  if (unit === "bytes" && value % 1_048_576 === 0) return `${bare} at most ${value / 1_048_576} MiB`;
  return `${name} at most ${value}`;
}

function showValue(value: unknown, { chars, items }: Sizes): unknown {
  if (typeof value === "string") return showText(value, chars);
  if (Array.isArray(value)) {
    const shown = value.slice(0, items).map((item) => showValue(item, { chars, items }));
    const left = value.length - items;
    return left > 0 && typeof value[0] === "string" ? [...shown, cutList(value, left)] : shown;
  }
  if (value === null || typeof value !== "object") return value;
  const pairs = Object.entries(value).slice(0, items);
  return Object.fromEntries(pairs.map(([name, inner]) => [showText(name, chars), showValue(inner, { chars, items })]));
}

function cutList(list: readonly unknown[], left: number): string {
  return `… and ${left} more; all of them:${cutText(JSON.stringify(list), 0)}`;
}
