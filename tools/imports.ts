// Reads what every TypeScript file of the repository imports: the ground that the architecture test and the graph stand on.
//
// Imports are parsed, not matched, so a name in a comment or a string is none. A type-only import counts as well: it is a
// dependency of the reader, though not of the program.
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { type Comment, parseSync } from "oxc-parser";

export const root = path.dirname(import.meta.dirname);

export interface Import {
  specifier: string;
  /** The imported file, relative to the root; null for a package that is not ours. */
  target: string | null;
}

export interface Source {
  /** Relative to the root, such as libs/bus/src/serve.ts. */
  file: string;
  /** The package's folder, such as libs/bus; for tests, bench and tools the folder itself. */
  room: string;
  isTest: boolean;
  imports: Import[];
  comments: Comment[];
  text: string;
}

export function readSources(): Source[] {
  const files = globSync("{libs,services,apps,tests,bench,tools}/**/*.ts", {
    cwd: root,
    exclude: ["**/node_modules/**"],
  });
  return files.sort().map(readSource);
}

function readSource(file: string): Source {
  const text = readFileSync(path.join(root, file), "utf8");
  const { module, comments, errors } = parseSync(file, text);
  if (errors[0] !== undefined) throw new Error(`${file}: ${errors[0].message}`);
  const requests = [
    ...module.staticImports.map((found) => found.moduleRequest),
    ...module.staticExports.flatMap((found) => found.entries.map((entry) => entry.moduleRequest)),
  ].flatMap((request) => (request === null ? [] : [request.value]));
  const dynamic = module.dynamicImports.map(({ moduleRequest: { start, end } }) => text.slice(start, end));
  const literals = dynamic.flatMap((expression) => /^["'`]([^"'`$]+)["'`]$/.exec(expression)?.[1] ?? []);
  const specifiers = [...new Set([...requests, ...literals])];
  return {
    file,
    room: roomOf(file),
    isTest: /\.test\.ts$|^tests\/|^[^/]+\/[^/]+\/test\//.test(file),
    imports: specifiers.map((specifier) => ({ specifier, target: resolve(file, specifier) })),
    comments,
    text,
  };
}

export function roomOf(file: string): string {
  const [area = "", name = ""] = file.split("/");
  return ["libs", "services", "apps"].includes(area) ? `${area}/${name}` : area;
}

function resolve(from: string, specifier: string): string | null {
  if (specifier.startsWith(".")) return path.posix.join(path.posix.dirname(from), specifier);
  const name = /^@aether\/([^/]+)/.exec(specifier)?.[1];
  if (name === undefined) return null;
  const room = globSync(`{libs,services,apps}/${name}`, { cwd: root })[0];
  return room === undefined ? null : `${room}/src/index.ts`;
}
