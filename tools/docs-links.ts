// What the documents point at: links between them, and files of this repository that they name. A document that names what is
// gone misleads, and nobody notices by reading it.
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const documents = ["*.md", "docs/**/*.md", "{libs,services,apps}/*/README.md"];
const namedFile = /^(?:apps|bench|docs|libs|services|tests|tools)\/[\w./-]+$/;

/** Every link and every file in backticks that leads nowhere, as `document: target`. */
export function findBrokenLinks(root: string): string[] {
  return globSync(documents, { cwd: root }).flatMap((document) => {
    const text = readFileSync(join(root, document), "utf8").replaceAll(/^```.*?^```/gms, "");
    const links = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].flatMap(([, target = ""]) =>
      /^[a-z]+:/.test(target) ? [] : [{ target, path: join(dirname(document), target) }],
    );
    const named = [...text.matchAll(/`([^`\s]+)`/g)].flatMap(([, target = ""]) =>
      namedFile.test(target) ? [{ target, path: target }] : [],
    );
    return [...links, ...named]
      .filter(({ path }) => !existsSync(join(root, path)))
      .map(({ target }) => `${document}: ${target}`);
  });
}
