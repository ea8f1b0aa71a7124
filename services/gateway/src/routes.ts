// Method and path → what answers them. The table is the contracts' operations with an HTTP route and the gateway's own
// routes; nothing else is reachable.
import { type Operation, operations, ProblemError, systemRoutes } from "@aether/contracts";

type SystemPath = (typeof systemRoutes)[number]["path"];

/** An operation to be asked over the bus, or one of the gateway's own answers. */
export type Route = { operation: Operation } | { system: SystemPath };

export interface Match {
  route: Route;
  /** The route's path with its `{names}`. */
  template: string;
  /** Values of the path's `{names}`, decoded. */
  params: Record<string, string>;
}

interface Entry {
  method: string;
  segments: readonly string[];
  route: Route;
}

const base = "v0";

const table: readonly Entry[] = [
  ...operations.flatMap((operation) => {
    const http = operation.http;
    return http ? [{ method: http.method, segments: split(`/${base}${http.path}`), route: { operation } }] : [];
  }),
  ...systemRoutes.map(({ method, path }) => ({ method, segments: split(`/${base}${path}`), route: { system: path } })),
];

/** Finds what answers; throws ProblemError, for a wrong method with `allow` naming the right ones. */
export function matchRoute(method: string, path: string): Match | { allow: string[]; template: string } {
  const segments = decode(path);
  const allow: string[] = [];
  let template = "";
  for (const entry of table) {
    const params = matchSegments(entry.segments, segments);
    if (!params) continue;
    template = entry.segments.map((segment) => `/${segment}`).join("");
    if (entry.method === method) return { route: entry.route, template, params };
    allow.push(entry.method);
  }
  if (allow.length === 0) throw new ProblemError("not-found", { detail: "there is no such route" });
  return { allow, template };
}

function matchSegments(pattern: readonly string[], segments: readonly string[]): Record<string, string> | null {
  if (pattern.length !== segments.length) return null;
  const params: Record<string, string> = {};
  for (const [i, expected] of pattern.entries()) {
    const actual = segments[i] ?? "";
    if (expected.startsWith("{") && actual !== "") params[expected.slice(1, -1)] = actual;
    else if (expected !== actual) return null;
  }
  return params;
}

/** Segments are decoded after the path was split: an encoded slash stays inside its segment. */
function decode(path: string): string[] {
  try {
    return split(path).map(decodeURIComponent);
  } catch (error) {
    throw new ProblemError("invalid-request", { detail: "the path is not valid percent-encoding" }, { cause: error });
  }
}

function split(path: string): string[] {
  return path.split("/").slice(1);
}
