// Writes the documents that are made from the code: npm run docs. With --check it writes nothing and fails where a document is
// not what it would write, or where one points at what is not there.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { renderAuthorisation } from "./authorisation.ts";
import { renderReadmes } from "./config-tables.ts";
import { findBrokenLinks } from "./docs-links.ts";
import { renderDocs } from "./docs-pages.ts";

const root = join(import.meta.dirname, "..");

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null; // a document that is missing differs from any
  }
}

const authorisation = ["docs/api/authorisation.md", renderAuthorisation()] as const;
const documents = [...renderDocs(version), authorisation, ...renderReadmes(root)].map(([path, text]) => ({
  path,
  file: join(root, path),
  text,
}));
const stale = documents.filter(({ file, text }) => readIfThere(file) !== text);

if (process.argv.includes("--check")) {
  for (const { path } of stale) console.error(`${path} is not what the code says: run npm run docs`);
  const broken = findBrokenLinks(root);
  for (const link of broken) console.error(`${link} is not there`);
  process.exitCode = stale.length + broken.length === 0 ? 0 : 1;
} else {
  for (const { file, text } of stale) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  console.log(
    stale.length === 0 ? "the documents are up to date" : `wrote ${stale.map(({ path }) => path).join(", ")}`,
  );
}
