// Process edge of the daemon: `aetherd [--home DIR]` runs in the foreground until it is told to end;
// `aetherd doctor [--home DIR] [--json]` looks and tells.
import { constants } from "node:os";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { LayoutError, resolveLayout } from "@aether/contracts";
import { readConfig } from "@aether/service";
import { AetherdConfig } from "./config.ts";
import { closeInherited } from "./inherited.ts";

const usageExit = 2;
const { values, positionals } = readArguments();
const layout = readLayout();
const config = readConfig(AetherdConfig, process.env);
if (positionals[0] === "doctor") {
  const { runDoctor } = await import("./doctor.ts");
  process.exitCode = await runDoctor(layout, config, values.json);
} else {
  const { startAetherd } = await import("./index.ts");
  await runDaemon(startAetherd);
}

async function runDaemon(startAetherd: typeof import("./index.ts").startAetherd): Promise<void> {
  process.umask(0o022);
  closeInherited();
  const ending = Promise.withResolvers<NodeJS.Signals>();
  const asked = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      asked.abort();
      ending.resolve(signal);
    });
  }
  try {
    const daemon = await startAetherd(layout, config, asked.signal);
    tellReady(daemon.degraded);
    await ending.promise;
    await daemon[Symbol.asyncDispose]();
    process.exit(0);
  } catch (error) {
    if (asked.signal.aborted) process.exit(128 + constants.signals[await ending.promise]);
    fail(error, 1);
  }
}

function tellReady(degraded: readonly string[]): void {
  process.stdout.write(`aether is up: ${layout.socket}\n`);
  for (const why of degraded) process.stderr.write(`aetherd: degraded: ${why}\n`);
}

function readArguments() {
  try {
    return parseArgs({
      options: { home: { type: "string" }, json: { type: "boolean", default: false } },
      allowPositionals: true,
    });
  } catch (error) {
    return fail(error, usageExit);
  }
}

function readLayout() {
  const home = values.home === undefined ? undefined : resolve(values.home);
  try {
    return resolveLayout({ uid: process.getuid?.() ?? 0, env: process.env, home });
  } catch (error) {
    if (error instanceof LayoutError) return fail(error, usageExit);
    throw error;
  }
}

/** The whole chain of causes in one place: this process has no other reader. */
function fail(error: unknown, code: number): never {
  for (let cause = error; cause; cause = cause instanceof Error ? cause.cause : null) {
    process.stderr.write(`aetherd: ${cause instanceof Error ? cause.message : String(cause)}\n`);
  }
  process.exit(code);
}
