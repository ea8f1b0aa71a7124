// The policies as files: the shipped folder with its schema, and the owner's folder beside it.
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface PolicyFiles {
  schema: string;
  /** Texts of the `*.cedar` files, by path, in the order they are read. */
  texts: readonly (readonly [path: string, text: string])[];
  /** `sha256:` over schema and policies. */
  version: string;
}

export const shippedPoliciesDir = join(import.meta.dirname, "../policies");

/** Reads the shipped folder and, where there is one, the owner's. */
export async function readPolicyFiles(ownDir: string | null): Promise<PolicyFiles> {
  const schema = await readFile(join(shippedPoliciesDir, "schema.cedarschema"), "utf8");
  const texts = [...(await readFolder(shippedPoliciesDir)), ...(ownDir ? await readFolder(ownDir) : [])];
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
  const paths = names
    .filter((name) => name.endsWith(".cedar"))
    .sort()
    .map((name) => join(folder, name));
  return Promise.all(paths.map(async (path): Promise<[string, string]> => [path, await readFile(path, "utf8")]));
}
