// Who may import whom. Each rule carries its reason, shown when it breaks; a rule that names a path that is gone breaks as well.
//
// Declared dependencies and unused ones are knip's, process.env, default exports and file names are Biome's.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { packageGraph } from "../tools/graph.ts";
import { type Import, readSources, roomOf, root, type Source } from "../tools/imports.ts";

const forServices = ["libs/service", "libs/bus", "libs/view", "libs/http", "libs/telemetry", "libs/contracts"];

/** What the code of each package may import of ours. */
const mayImport: Record<string, string[]> = {
  "libs/contracts": [],
  "libs/chain": [],
  "libs/telemetry": [],
  "libs/bus": ["libs/telemetry", "libs/contracts"],
  "libs/http": ["libs/telemetry", "libs/contracts"],
  "libs/view": ["libs/bus", "libs/telemetry", "libs/contracts"],
  "libs/opener": ["libs/http", "libs/telemetry", "libs/contracts"],
  "libs/service": ["libs/bus", "libs/http", "libs/telemetry", "libs/contracts"],
  "libs/sandbox": ["libs/telemetry", "libs/contracts"],
  "libs/client": ["libs/contracts", "libs/http"],
  "libs/testkit": ["libs/bus", "libs/telemetry", "libs/contracts"],
  "services/artifacts": [...forServices, "libs/opener"],
  "services/events": forServices,
  "services/gateway": forServices,
  "services/jobs": forServices,
  "services/policy": [...forServices, "libs/chain"],
  "services/secrets": forServices,
  "services/memory": [...forServices, "libs/opener"],
  "services/worker": [...forServices, "libs/sandbox"],
  "apps/cli": ["libs/client", "libs/chain", "libs/contracts"],
  "apps/aetherd": [
    ...forServices,
    "libs/opener",
    "services/artifacts",
    "services/events",
    "services/gateway",
    "services/jobs",
    "services/memory",
    "services/policy",
    "services/secrets",
    "services/worker",
  ],
};

/** Inside a service: what a file of this name may not import of its neighbours, and "*" for all but the named ones. */
const mayNotImport: Record<string, { all: boolean; names: string[] }> = {
  "main.ts": { all: true, names: ["index.ts", "config.ts"] },
  "config.ts": { all: true, names: [] },
  "store.ts": { all: false, names: ["handlers.ts", "reconciler.ts", "metrics.ts"] },
  "handlers.ts": { all: false, names: ["reconciler.ts"] },
};

interface Rule {
  name: string;
  because: string;
  paths?: string[];
  breaks(source: Source, found: Import): boolean;
}

const isOf = (source: Source, ...areas: string[]) => areas.some((area) => source.file.startsWith(`${area}/`));
const everything = ["tests", "bench", "tools"];
const processStarters = ["libs/sandbox", "libs/opener", "libs/testkit", "apps/aetherd", "apps/cli"];

const rules: Rule[] = [
  {
    name: "no service imports another service",
    because: "services meet on the bus only, so that each can be replaced, restarted and run elsewhere alone",
    breaks: (source, { target }) => {
      const to = target === null ? "" : roomOf(target);
      return isOf(source, "services") && to.startsWith("services/") && to !== source.room;
    },
  },
  {
    name: "contracts imports only zod",
    because: "clients and browsers load the contract, and must not pull an implementation with it",
    paths: ["libs/contracts"],
    breaks: (source, { specifier }) =>
      isOf(source, "libs/contracts") && !source.isTest && !specifier.startsWith(".") && specifier !== "zod",
  },
  {
    name: "libs never import services or apps",
    because: "a library that knows its users cannot serve another one",
    breaks: (source, { target }) => isOf(source, "libs") && target !== null && /^(services|apps)\//.test(target),
  },
  {
    name: "a package imports only the packages below it",
    because: "the folder tree is the architecture; mayImport in this file is the list of its arrows",
    paths: Object.keys(mayImport),
    breaks: (source, { target }) => {
      if (source.isTest || isOf(source, ...everything) || target === null) return false;
      const to = roomOf(target);
      return to !== source.room && !mayImport[source.room]?.includes(to);
    },
  },
  {
    name: "production code never imports testkit or a test",
    because: "what only tests need must not run on anybody's machine",
    paths: ["libs/testkit"],
    breaks: (source, { target }) =>
      !source.isTest &&
      !isOf(source, ...everything, "libs/testkit") &&
      target !== null &&
      (roomOf(target) === "libs/testkit" || /\.test\.ts$|\/test\//.test(target)),
  },
  {
    name: "@nats-io/* only in libs/bus",
    because: "reply subjects, deadlines, callers and parsing are checked there and nowhere else",
    paths: ["libs/bus"],
    breaks: (source, { specifier }) => specifier.startsWith("@nats-io/") && !isOf(source, ...everything, "libs/bus"),
  },
  {
    name: "dockerode only in libs/sandbox",
    because: "the engine's socket is root on the host",
    paths: ["libs/sandbox"],
    breaks: (source, { specifier }) => specifier === "dockerode" && !isOf(source, ...everything, "libs/sandbox"),
  },
  {
    name: "node:child_process only where processes are made",
    because: "only the sandbox starts what others wrote; the daemon, the CLI and the tests start our own programs",
    paths: processStarters,
    breaks: (source, { specifier }) =>
      /^(node:)?child_process$/.test(specifier) && !source.isTest && !isOf(source, ...everything, ...processStarters),
  },
  {
    name: "inside a service the arrows point to the domain",
    because: "main is the process edge, index the wiring; configuration and the store know nothing of who uses them",
    paths: Object.keys(mayNotImport).map((name) => `services/jobs/src/${name}`),
    breaks: (source, { target }) => {
      if (!isOf(source, "services") || source.isTest || target === null || roomOf(target) !== source.room) return false;
      const [from, to] = [path.basename(source.file), path.basename(target)];
      if (to === "main.ts" || (to === "index.ts" && !from.endsWith("main.ts"))) return true;
      const rule = source.file === `${source.room}/src/${from}` ? mayNotImport[from] : undefined;
      return rule !== undefined && rule.all !== rule.names.includes(to);
    },
  },
  {
    name: "no import past another package's door",
    because: "what package.json exports is what a package promises; the rest may change any day",
    breaks: (source, { specifier, target }) =>
      !isOf(source, ...everything) &&
      ((/^@aether\/[^/]+\//.test(specifier) && !isExported(specifier)) ||
        (specifier.startsWith(".") && target !== null && roomOf(target) !== source.room)),
  },
];

/** Whether `@aether/<package>/<door>` is among the doors that the package's package.json names. */
function isExported(specifier: string): boolean {
  const [, name = "", ...door] = specifier.split("/");
  const folder = ["libs", "services", "apps"].find((area) => existsSync(path.join(root, area, name)));
  const manifest = readFileSync(path.join(root, folder ?? "libs", name, "package.json"), "utf8");
  return `./${door.join("/")}` in (JSON.parse(manifest) as { exports: Record<string, string> }).exports;
}

const sources = readSources();

describe("architecture", () => {
  it.each(rules)("$name", ({ because, paths = [], breaks }) => {
    for (const named of paths)
      expect(existsSync(path.join(root, named)), `the rule names ${named}, which is gone`).toBe(true);
    const broken = sources.flatMap((source) =>
      source.imports
        .filter((found) => breaks(source, found))
        .map(({ specifier }) => `${source.file} imports ${specifier}`),
    );
    expect(broken, because).toEqual([]);
  });

  it("packages and files import each other without a cycle", () => {
    const files = new Map(
      sources.map(({ file, imports }) => [file, new Set(imports.flatMap(({ target }) => target ?? []))]),
    );
    expect(
      [...findCycles(packageGraph()), ...findCycles(files)],
      "what is in a cycle cannot be read, tested or replaced alone",
    ).toEqual([]);
  });

  it("every package has its row in mayImport", () => {
    const rooms = new Set(sources.map(({ room }) => room).filter((room) => room.includes("/")));
    expect([...rooms].filter((room) => mayImport[room] === undefined)).toEqual([]);
  });

  it("no test mocks a module", () => {
    const mocking = sources.filter(
      ({ file, text }) => file !== "tests/architecture.test.ts" && /\bvi\.(do)?mock\b/i.test(text),
    );
    expect(
      mocking.map(({ file }) => file),
      "tests run the real thing; pass a fake at the process edge instead",
    ).toEqual([]);
  });

  it("markers name an issue, as TODO(#123):", () => {
    const loose = sources.flatMap(({ file, comments }) =>
      comments
        .filter(({ value }) => /\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\):)/.test(value))
        .map(({ value }) => `${file}:${value}`),
    );
    expect(loose, "a marker without an issue is never looked at again").toEqual([]);
  });

  it("the rules that Biome holds are switched on", () => {
    const biome = readFileSync(path.join(root, "biome.jsonc"), "utf8");
    for (const rule of ["noProcessEnv", "noDefaultExport", "noConsole", "noFloatingPromises"]) {
      expect(biome).toMatch(new RegExp(`"${rule}": "error"`));
    }
  });
});

/** Every cycle once, as "a > b > a"; depth first, a node is left for good when all it reaches was seen. */
function findCycles(graph: Map<string, Set<string>>): string[] {
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (node: string, trail: string[]) => {
    if (trail.includes(node)) cycles.push([...trail.slice(trail.indexOf(node)), node].join(" > "));
    if (trail.includes(node) || done.has(node)) return;
    for (const next of graph.get(node) ?? []) visit(next, [...trail, node]);
    done.add(node);
  };
  for (const node of graph.keys()) visit(node, []);
  return cycles;
}
