// Policies and their tests as files, tried without a service: whether the set would be taken, and what it answers to each case.
import { readFile } from "node:fs/promises";
import { type CaseResult, runCases } from "./cases.ts";
import { openEngine } from "./engine.ts";
import { isShipped, listFiles, readPolicyFiles, shippedPoliciesDir } from "./policy-files.ts";

export interface PolicyReport {
  /** How many policies there are; null where the set is not valid. */
  policies: { shipped: number; own: number } | null;
  /** Why the set is not valid, a line for each fault. */
  faults: string[];
  warnings: string[];
  /** `changed`: shipped cases, which say what holds without policies of one's own; with them another answer may be meant. */
  files: { path: string; changed: boolean; cases: CaseResult[] }[];
}

/** Tries the shipped policies and those of a folder, with the cases of these files, or of all beside the policies. */
export async function testPolicies(ownDir: string | null, paths: readonly string[]): Promise<PolicyReport> {
  const files = await readPolicyFiles(ownDir);
  const folders = ownDir === null ? [shippedPoliciesDir] : [shippedPoliciesDir, ownDir];
  const chosen =
    paths.length > 0 ? paths : (await Promise.all(folders.map((folder) => listFiles(folder, ".test")))).flat();
  const texts = await Promise.all(chosen.map(async (path) => ({ path, text: await readFile(path, "utf8") })));
  try {
    const engine = openEngine(files);
    const own = engine.policies.filter(({ origin }) => origin === "own").length;
    return {
      policies: { shipped: engine.policies.length - own, own },
      faults: [],
      warnings: [...engine.warnings],
      files: texts.map(({ path, text }) => ({
        path,
        changed: own > 0 && isShipped(path),
        cases: runCases(engine, text),
      })),
    };
  } catch (error) {
    const faults = (error instanceof Error ? error.message : String(error)).split("\n");
    return { policies: null, faults, warnings: [], files: [] };
  }
}
