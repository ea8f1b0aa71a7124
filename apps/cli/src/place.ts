// Where things are on this machine: the layout of the installation, and this checkout.
import { homedir } from "node:os";
import path from "node:path";
import { type Layout, LayoutError, resolveLayout } from "@aether/contracts";
import { exitCodes, Failure } from "./failure.ts";
import type { Environment } from "./invocation.ts";

/** The folder of this checkout. */
export const checkout = path.resolve(import.meta.dirname, "../../..");

/** The layout that the environment says; throws Failure. */
export function findLayout(env: Environment): Layout {
  try {
    return resolveLayout({
      uid: process.getuid?.() ?? 0,
      env: withoutUndefined({ ...env, HOME: env.HOME || homedir() }),
    });
  } catch (error) {
    if (error instanceof LayoutError) throw new Failure(error.message, { exitCode: exitCodes.usage });
    throw error;
  }
}

function withoutUndefined(env: Environment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
