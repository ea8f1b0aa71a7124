// The tools of the system that make, mend and mount file systems, each for a bounded time and with a constant environment.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { SandboxUnavailable } from "./driver.ts";

const TOOL_TIMEOUT_MS = 60_000;
const toolEnvironment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const run = promisify(execFile);

/** Runs a tool; rejects as `execFile` does. */
export async function runTool(name: string, args: string[]): Promise<void> {
  await run(name, args, { env: toolEnvironment, timeout: TOOL_TIMEOUT_MS });
}

/** The same, where its absence or refusal is a typed refusal of the sandbox. */
export async function diskTool(name: string, args: string[], mend: string): Promise<void> {
  try {
    await runTool(name, args);
  } catch (error) {
    const text = error instanceof Error && "stderr" in error ? String(error.stderr ?? "").trim() : "";
    const cause = `A disk cannot be made: ${text || String(error)}`;
    throw new SandboxUnavailable([{ cause, mend }], { cause: error });
  }
}
