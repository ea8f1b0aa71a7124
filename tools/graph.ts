// Prints which package imports which, as the Mermaid picture that ARCHITECTURE.md shows: npm run graph.
import { readSources, roomOf } from "./imports.ts";

export function packageGraph(): Map<string, Set<string>> {
  const graph = new Map<string, Set<string>>();
  for (const source of readSources()) {
    if (source.isTest || !source.room.includes("/")) continue;
    const reached = graph.get(source.room) ?? new Set();
    graph.set(source.room, reached);
    for (const { target } of source.imports) {
      if (target !== null && roomOf(target) !== source.room) reached.add(roomOf(target));
    }
  }
  return graph;
}

export function toMermaid(graph: Map<string, Set<string>>): string {
  const arrows = [...graph].flatMap(([from, reached]) => [...reached].sort().map((to) => `  ${from} --> ${to}`));
  return ["```mermaid", "flowchart TD", ...arrows.sort(), "```"].join("\n");
}

if (import.meta.main) console.log(toMermaid(packageGraph()));
