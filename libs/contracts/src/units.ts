// Durations and sizes as people write them, and the schemas that accept them. Requests say "90s" and "512MiB" (or bytes);
// answers give numbers with the unit in the name.
import { z } from "zod";

const durationUnitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const sizeUnitBytes: Record<string, number> = {
  "": 1,
  b: 1,
  k: 1024,
  kib: 1024,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gib: 1024 ** 3,
  t: 1024 ** 4,
  tib: 1024 ** 4,
};

/** Milliseconds of a duration such as "90s", "1h30m" or "250ms"; null when it is not one. */
export function parseDurationMs(text: string): number | null {
  if (text.length > 32 || !/^(\d{1,12}(\.\d{1,6})?(ms|s|m|h|d))+$/.test(text)) return null;
  let total = 0;
  for (const part of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(part[1]) * (durationUnitMs[part[2] ?? ""] ?? Number.NaN);
  }
  return Number.isSafeInteger(Math.round(total)) ? Math.round(total) : null;
}

/** Bytes of a size such as "512MiB", "512m", "1GiB" or "1048576"; null when it is not one. Units are binary. */
export function parseSizeBytes(text: string): number | null {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s?([a-z]{0,3})$/i.exec(text);
  const unit = match && sizeUnitBytes[(match[2] ?? "").toLowerCase()];
  if (!match || !unit) return null;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** A duration string within [minMs, maxMs]. */
export function durationSchema(minMs: number, maxMs: number) {
  return z.string().check((context) => {
    const ms = parseDurationMs(context.value);
    if (ms === null) issue(context, 'must be a duration such as "90s", "10m" or "1h30m"');
    else if (ms < minMs || ms > maxMs)
      issue(context, `must be between ${formatDuration(minMs)} and ${formatDuration(maxMs)}`);
  });
}

/** A size string or a number of bytes within [minBytes, maxBytes]. */
export function sizeSchema(minBytes: number, maxBytes: number) {
  return z.union([z.string(), z.int()]).check((context) => {
    const bytes = toBytes(context.value);
    if (bytes === null) issue(context, 'must be a size such as "512MiB" or a number of bytes');
    else if (bytes < minBytes || bytes > maxBytes) issue(context, `must be between ${minBytes} and ${maxBytes} bytes`);
  });
}

/** Bytes of a size already accepted by a schema. */
export function toBytes(size: string | number): number | null {
  return typeof size === "number" ? size : parseSizeBytes(size);
}

/** Milliseconds of a duration already accepted by a schema. */
export function requireDurationMs(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === null) throw new TypeError(`not a duration: ${text}`);
  return ms;
}

/** Bytes of a size already accepted by a schema. */
export function requireBytes(size: string | number): number {
  const bytes = toBytes(size);
  if (bytes === null) throw new TypeError(`not a size: ${size}`);
  return bytes;
}

/** A duration in its largest whole unit: 90000 → "90s", 3600000 → "1h". */
export function formatDuration(ms: number): string {
  for (const [unit, size] of [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1000],
  ] as const) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

function issue(context: { value: unknown; issues: z.core.$ZodRawIssue[] }, message: string): void {
  context.issues.push({ code: "custom", message, input: context.value });
}
