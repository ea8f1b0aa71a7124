// The policies as files: the shipped folder with its schema, and the owner's folder beside it.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

export interface PolicyFiles {
  schema: string;
  /** Texts of the `*.cedar` files, by path, in the order they are read. */
  texts: readonly (readonly [path: string, text: string])[];
  /** `sha256:` over schema and policies. */
  version: string;
}

export const shippedPoliciesDir = join(import.meta.dirname, "../policies");

// Part of the program and loaded with it: a process that has given up its privileges may not see its own code any more.
const shipped = {
  schema: readFileSync(join(shippedPoliciesDir, "schema.cedarschema"), "utf8"),
  texts: among(readdirSync(shippedPoliciesDir), ".cedar").map(
    (name) => [join(shippedPoliciesDir, name), readFileSync(join(shippedPoliciesDir, name), "utf8")] as const,
  ),
};

/** The shipped policies and, where there is a folder of them, the owner's as they are now. */
export async function readPolicyFiles(ownDir: string | null): Promise<PolicyFiles> {
  const { schema } = shipped;
  const texts = [...shipped.texts, ...(ownDir ? await readFolder(ownDir) : [])];
  const version = `sha256:${createHash("sha256")
    .update(JSON.stringify([schema, texts.map(([, text]) => text)]))
    .digest("hex")}`;
  return { schema, texts, version };
}

/** Whether a policy is of the shipped ones. */
export function isShipped(path: string): boolean {
  return dirname(path) === shippedPoliciesDir;
}

/** The paths of the files with this ending in a folder, in order; none where there is no folder. */
export async function listFiles(folder: string, ending: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return []; // an owner who has no policies need not make the folder
    throw error;
  });
  return among(names, ending).map((name) => join(folder, name));
}

async function readFolder(folder: string): Promise<[string, string][]> {
  const paths = await listFiles(folder, ".cedar");
  return Promise.all(paths.map(async (path): Promise<[string, string]> => [path, await readFile(path, "utf8")]));
}

function among(names: readonly string[], ending: string): string[] {
  return names.filter((name) => name.endsWith(ending)).sort();
}
