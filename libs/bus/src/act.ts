// An operation's act as policy and people are told of it: the digest of exactly what is asked for, and what a person is shown.
// Both are made from the request as the contract read it, so that equal requests are equal acts.
import { createHash } from "node:crypto";
import type { Operation, Preview } from "@aether/contracts";

const shownChars = 1000;

/** SHA-256 of the operation and its request. */
export function digestOf(operation: Pick<Operation, "name">, request: unknown): string {
  return sha256(`${operation.name}\n${canonical(request)}`);
}

/** What a person is shown of it: every field as JSON, long ones cut. */
export function operationPreview({ name, summary }: Pick<Operation, "name" | "summary">, request: object): Preview {
  const fields = Object.entries(request).filter(([, value]) => value !== undefined);
  const shown = fields.map(([field, value]) => [field, cutText(JSON.stringify(value), shownChars)]);
  return { kind: "operation", words: summary, operation: name, request: Object.fromEntries(shown) };
}

/** The text, or its beginning with the length and the digest of the whole. */
export function cutText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const end = /[\ud800-\udbff]/.test(text[maxChars - 1] ?? "") ? maxChars - 1 : maxChars;
  return `${text.slice(0, end)} … (${text.length} characters, ${sha256(text).slice(0, 23)}…)`;
}

function sha256(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

/** JSON with sorted keys: the same value is the same text. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const pairs = Object.entries(value).filter(([, inner]) => inner !== undefined);
  const sorted = pairs.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(",")}}`;
}
