// The embedded nats-server: its configuration, its start, what makes it fit to be used, and its watch.
//
// It chooses its ports at its first start and keeps them, so that a restarted one is found again by everybody. It is used only
// when the running server says that it syncs every write: a configuration that was not understood must not pass for it.
import { execFile } from "node:child_process";
import {
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { serverConfig } from "@aether/bus";
import type { Layout } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";
import { z } from "zod";
import type { Account } from "./account.ts";
import { findObstacle } from "./folders.ts";
import { type Supervised, supervise } from "./supervise.ts";

/** The first version that keeps what it acknowledged whatever fails. */
export const oldestVersion = "2.15.1";
const listenLimitMs = 60_000;
const pollMs = 5;
const stopMs = 10_000;
/** Shown where a server turns out not to sync every write. */
export const syncMend = `use nats-server ${oldestVersion} or newer (AETHER_NATS_SERVER names it) with the configuration that aetherd writes`;

const Ports = z.object({
  nats: z.tuple([z.templateLiteral(["nats://127.0.0.1:", z.int()])]),
  monitoring: z.tuple([z.templateLiteral(["http://127.0.0.1:", z.int()])]),
});
const Varz = z.object({
  version: z.string(),
  jetstream: z.object({ config: z.object({ sync_always: z.boolean().optional() }).optional() }),
});

export interface NatsServerOptions {
  layout: Layout;
  account: Account | null;
  /** The program, by its path or by a name to look for. */
  program: string;
  searchPath: string;
  /** Names of the worker hosts. */
  hosts: readonly string[];
  storeBytes: number;
  env: Readonly<Record<string, string>>;
  log: Logger;
  onChange(): void;
}

export interface NatsServer {
  readonly process: Supervised;
  readonly url: string;
  /** Where it answers `/healthz` and `/varz`. */
  readonly monitor: string;
}

/** Starts the server; resolves when it can be used, throws with the mend where it cannot. */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const { layout, log } = options;
  removePorts(layout.natsDir);
  const configFile = join(layout.dataDir, "nats.conf");
  writeConfig(configFile, options, { port: 0 });
  const program = findProgram(options.program, options.searchPath);
  const isHidden = options.account !== null && findObstacle(program, options.account) !== null;
  const server = supervise(
    {
      name: "nats",
      command: program,
      ...(isHidden && { programFd: openSync(program, "r") }),
      args: ["-c", configFile],
      env: options.env,
      account: options.account,
      outputFile: join(layout.logDir, "nats.log"),
      stopMs,
    },
    { log, onChange: options.onChange },
  );
  try {
    const ports = await waitForPorts(server, layout.natsDir, program);
    const portOf = (url: string) => Number(new URL(url).port);
    writeConfig(configFile, options, { port: portOf(ports.nats), monitorPort: portOf(ports.monitoring) });
    await assertFit(ports.monitoring);
    return { process: server, url: ports.nats, monitor: ports.monitoring };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** The program's file; throws with the mend where there is none. */
export function findProgram(program: string, searchPath: string): string {
  const places = program.includes("/") ? [program] : searchPath.split(":").map((folder) => join(folder, program));
  const found = places.find((place) => statSync(place, { throwIfNoEntry: false })?.isFile());
  if (found === undefined) {
    throw new Error(
      `${program} is missing; install nats-server ${oldestVersion} or newer, or name it in AETHER_NATS_SERVER`,
    );
  }
  return realpathSync(found);
}

/** Whether `version` is at least `oldest`, both as `1.2.3`. */
export function isAtLeast(version: string, oldest = oldestVersion): boolean {
  const parts = (text: string) => text.split(/[.-]/).slice(0, 3).map(Number);
  const wanted = parts(oldest);
  for (const [index, part] of parts(version).entries()) {
    const difference = part - (wanted[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** The version that the program tells, or null where it cannot be run. */
export async function readVersion(program: string): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)(program, ["--version"], { timeout: 10_000 });
    return /(\d+\.\d+\.\d+)/.exec(stdout)?.[1] ?? null;
  } catch {
    // Missing or no program: the caller names it.
    return null;
  }
}

/** What the running server says of itself. */
export async function readVarz(monitor: string): Promise<{ version: string; syncsAlways: boolean }> {
  const { body } = await httpGet(`${monitor}/varz`, 5_000);
  const varz = Varz.parse(JSON.parse(body));
  return { version: varz.version, syncsAlways: varz.jetstream.config?.sync_always === true };
}

/** A small GET on loopback. */
export function httpGet(url: string, timeoutMs: number): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(timeoutMs) }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body }));
      response.once("error", reject);
    });
    request.once("error", reject);
  });
}

function writeConfig(file: string, options: NatsServerOptions, ports: { port: number; monitorPort?: number }): void {
  const { layout, hosts, storeBytes } = options;
  const { keysDir, natsDir } = layout;
  const text = serverConfig({
    ...{ keysDir, storeDir: natsDir, ...ports, portsDir: natsDir, hosts, storeBytes },
    pidFile: join(layout.natsDir, "nats.pid"),
  });
  // Public keys and limits only, and the account reads it.
  writeFileSync(`${file}.new`, text, { mode: 0o644 });
  renameSync(`${file}.new`, file);
}

async function waitForPorts(server: Supervised, portsDir: string, program: string) {
  const limit = performance.now() + listenLimitMs;
  for (;;) {
    if (server.lastEnding) throw new Error(await explainEnding(program, server.lastEnding.lastWords));
    const ports = readPorts(portsDir, server.pid);
    if (ports) return ports;
    if (performance.now() > limit) throw new Error(`nats-server does not listen after ${listenLimitMs / 1000} s`);
    await delay(pollMs);
  }
}

async function explainEnding(program: string, lastWords: string): Promise<string> {
  const version = await readVersion(program);
  if (version === null) {
    return `${program} cannot be run; install nats-server ${oldestVersion} or newer, or name it in AETHER_NATS_SERVER`;
  }
  if (!isAtLeast(version)) {
    return `${program} is version ${version}; ${oldestVersion} or newer is needed (AETHER_NATS_SERVER names it)`;
  }
  return `nats-server ended at its start: ${lastWords.trim()}`;
}

async function assertFit(monitor: string): Promise<void> {
  const { version, syncsAlways } = await readVarz(monitor);
  if (!isAtLeast(version)) throw new Error(`nats-server is version ${version}; ${oldestVersion} or newer is needed`);
  if (!syncsAlways) throw new Error(`the running nats-server does not sync every write to disk; ${syncMend}`);
}

/** A killed server leaves its file behind. */
function removePorts(folder: string): void {
  for (const name of readdirSync(folder)) if (name.endsWith(".ports")) rmSync(join(folder, name));
}

/** The addresses that the process with this pid wrote down, or null while there are none. */
function readPorts(portsDir: string, pid: number | null): { nats: string; monitoring: string } | null {
  const file = pid === null ? undefined : readdirSync(portsDir).find((name) => name.endsWith(`_${pid}.ports`));
  if (!file) return null;
  try {
    const ports = Ports.parse(JSON.parse(readFileSync(join(portsDir, file), "utf8")));
    return { nats: ports.nats[0], monitoring: ports.monitoring[0] };
  } catch {
    // Being written.
    return null;
  }
}
