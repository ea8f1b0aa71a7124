// The policy service as a process of its own, which may be killed.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Room } from "./_fixture.ts";

/** Starts the service; it dies with the test's process. */
export function startProcess(room: Room, overrides?: Parameters<Room["config"]>[0]): ChildProcess {
  const main = join(import.meta.dirname, "../src/main.ts");
  const environment = Object.entries(room.config(overrides)).map(([name, value]) => [name, String(value)]);
  const cache = process.env.NODE_COMPILE_CACHE;
  return spawn("setpriv", ["--pdeathsig", "KILL", "--", process.execPath, main], {
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...Object.fromEntries(environment),
      PATH: process.env.PATH ?? "",
      AETHER_LOG_FILE: join(room.folder, "policy.log"),
      ...(cache && { NODE_COMPILE_CACHE: cache }),
    },
  });
}

/** Ends it by a signal; answers its exit code, null where the signal ended it. */
export async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
  return child.exitCode;
}
