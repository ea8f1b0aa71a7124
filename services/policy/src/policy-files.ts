// The policies as files: the shipped folder with its schema, and the owner's folder beside it.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface PolicyFiles {
  schema: string;
  /** Texts of the `*.cedar` files, by path, in the order they are read. */
  texts: readonly (readonly [path: string, text: string])[];
  /** `sha256:` over schema and policies. */
  version: string;
}

const shippedPoliciesDir = join(import.meta.dirname, "../policies");

// Part of the program and loaded with it: a process that has given up its privileges may not see its own code any more.
const shipped = {
  schema: readFileSync(join(shippedPoliciesDir, "schema.cedarschema"), "utf8"),
  texts: policiesAmong(readdirSync(shippedPoliciesDir)).map(
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

async function readFolder(folder: string): Promise<[string, string][]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return []; // an owner who has no policies need not make the folder
    throw error;
  });
  const paths = policiesAmong(names).map((name) => join(folder, name));
  return Promise.all(paths.map(async (path): Promise<[string, string]> => [path, await readFile(path, "utf8")]));
}

function policiesAmong(names: string[]): string[] {
  return names.filter((name) => name.endsWith(".cedar")).sort();
}
