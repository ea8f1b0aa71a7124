// Between a URL's query, which knows only text, and the schemas of requests: numbers and booleans become what the schema of
// their field says, repeated names become arrays, and everything else is left for the schema to refuse.
import { z } from "zod";
import type { Operation } from "./define.ts";
import { ProblemError } from "./problem.ts";

const made = new WeakMap<Operation, z.ZodObject>();

/**
 * What the query of an operation's route may hold: its own schema, or what the path leaves of the request, for GET and where
 * the body is bytes.
 */
export function querySchema(operation: Operation): z.ZodObject {
  // Made once: making a schema costs more than the request that it checks.
  const before = made.get(operation);
  if (before) return before;
  const schema = makeQuerySchema(operation);
  made.set(operation, schema);
  return schema;
}

/** The fields that a query names, as values; throws ProblemError for unknown names and for repeated ones that are no list. */
export function parseQuery(schema: z.ZodObject, query: URLSearchParams): Record<string, unknown> {
  const errors: { path: string; message: string }[] = [];
  const values: Record<string, unknown> = {};
  for (const name of new Set(query.keys())) {
    const field = Object.hasOwn(schema.shape, name) ? schema.shape[name] : undefined;
    const texts = query.getAll(name);
    if (!field) errors.push({ path: name, message: "unknown parameter" });
    else if (unwrap(field) instanceof z.ZodArray) values[name] = texts;
    else if (texts.length > 1) errors.push({ path: name, message: "must be given once" });
    else values[name] = toValue(unwrap(field), texts[0] ?? "");
  }
  if (errors.length > 0) {
    throw new ProblemError("invalid-request", {
      detail: errors
        .map((e) => `${e.path}: ${e.message}`)
        .join("; ")
        .slice(0, 500),
      errors,
    });
  }
  return values;
}

/** The query string for the fields of a request that are set, with its question mark; empty where none is. */
export function formatQuery(values: Record<string, unknown>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === null) continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one));
  }
  return query.size === 0 ? "" : `?${query}`;
}

function makeQuerySchema({ http, request, bytes }: Operation): z.ZodObject {
  if (http?.query) return http.query;
  const holdsRequest = http?.method === "GET" || (http && bytes === "request");
  if (!holdsRequest || !(request instanceof z.ZodObject)) return z.strictObject({});
  const left = Object.entries(request.shape).filter(([name]) => !http.path.includes(`{${name}}`));
  return z.strictObject(Object.fromEntries(left));
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodNullable)
    return unwrap(schema.unwrap());
  return schema;
}

function toValue(schema: z.core.$ZodType, text: string): unknown {
  if (schema instanceof z.ZodNumber && /^-?\d{1,15}(\.\d{1,6})?$/.test(text)) return Number(text);
  if (schema instanceof z.ZodBoolean && (text === "true" || text === "false")) return text === "true";
  return text;
}
