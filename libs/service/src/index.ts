// What every service's main needs: its configuration read from the environment with all errors at once, and a life that ends
// on a signal by giving back what it holds. A library that main calls, not a framework that calls you.
import { constants } from "node:os";
import type { z } from "zod";

export {
  findGid,
  formatPeople,
  isAmong,
  isSomebody,
  type Numbers,
  overflowUid,
  type People,
  PeopleList,
  RolesConfig,
  type UidDomain,
  UidRanges,
} from "./people.ts";
export { type SpaceWatch, watchSpace } from "./space.ts";

/** Exit code of a process whose configuration is wrong (sysexits' EX_CONFIG). */
const configExit = 78;
const disposeLimitMs = 20_000;

/** Parses the environment with a schema whose keys are the variables' names; ends the process with every error at once. */
export function readConfig<T extends z.ZodObject>(schema: T, environment: NodeJS.ProcessEnv): z.infer<T> {
  const known = Object.fromEntries(Object.keys(schema.shape).map((name) => [name, environment[name]]));
  const parsed = schema.safeParse(known);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) process.stderr.write(`${issue.path.join(".")}: ${issue.message}\n`);
  process.exit(configExit);
}

/**
 * Runs `start`, waits for SIGINT or SIGTERM, disposes what it answered, and lets the process end. A start that fails ends it
 * with 1. A dispose that takes longer than 20 s is cut short.
 */
export async function runMain(start: () => Promise<AsyncDisposable>): Promise<void> {
  const ending = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => ending.resolve(signal));
  let handle: AsyncDisposable;
  try {
    handle = await start();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(1);
  }
  const signal = await ending.promise;
  setTimeout(() => process.exit(128 + constants.signals[signal]), disposeLimitMs).unref();
  await handle[Symbol.asyncDispose]();
  process.exit(0);
}
