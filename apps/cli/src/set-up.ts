// What a machine has of what Aether needs, in a line each. Only shown: whether it is enough is the doctor's matter.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Environment } from "./invocation.ts";

const run = promisify(execFile);
const timeoutMs = 5_000;

export interface Tool {
  readonly name: string;
  readonly version: string | null;
  readonly program: string;
}

/** The programs that Aether runs, with their versions. */
export function findTools(env: Environment): Promise<Tool[]> {
  return Promise.all([
    { name: "Node", version: process.versions.node, program: process.execPath },
    versionOf("nats-server", env.AETHER_NATS_SERVER ?? "nats-server", env),
    versionOf("bubblewrap", "bwrap", env),
  ]);
}

async function versionOf(name: string, program: string, env: Environment): Promise<Tool> {
  try {
    const { stdout } = await run(program, ["--version"], { env: { PATH: env.PATH }, timeout: timeoutMs });
    return { name, program, version: /\d[\d.]*/.exec(stdout)?.[0] ?? "?" };
  } catch {
    return { name, program, version: null };
  }
}

/** How long ago the command was given, the launcher's own work included: it became this process by exec. */
export function sinceCommandMs(stat: string, uptime: string): number | null {
  // Behind the name in parentheses, which may hold anything; the start is the 20th field from there, in 1/100 s.
  const ticks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  const upMs = Number(uptime.split(" ")[0]) * 1000;
  const ageMs = upMs - ticks * 10;
  return Number.isFinite(ageMs) && ageMs >= 0 ? ageMs : null;
}
