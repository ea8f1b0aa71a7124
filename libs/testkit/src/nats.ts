// A real nats-server with Aether's accounts and streams on a free port, for one test file.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bus, connectBus, provision, seedFile, serverConfig } from "@aether/bus";
import { silentLog } from "./log.ts";
import { natsServerPath } from "./require.ts";
import { tempDir } from "./temp-dir.ts";
import { waitFor } from "./wait-for.ts";

export interface TestNats extends AsyncDisposable {
  url: string;
  /** URL of the monitoring endpoint. */
  monitor: string;
  keysDir: string;
  process: ChildProcess;
  /** Connects as one of the topology's users. */
  connect(user: string): Promise<Bus>;
  /** Ends it by SIGKILL and starts it again on the same store and port. */
  restart(): Promise<void>;
}

const storeBytes = 2 * 1024 * 1024 * 1024;

/** Starts nats-server, provisions both accounts, and answers how to connect. */
export async function startNats(options: { hosts?: string[]; storeBytes?: number } = {}): Promise<TestNats> {
  const folder = tempDir();
  const at = (name: string) => join(folder.path, name);
  for (const name of ["keys", "store", "ports"]) mkdirSync(at(name), { mode: 0o700 });
  const hosts = options.hosts ?? ["host-a", "host-b"];
  const write = (port: number) =>
    writeFileSync(
      at("nats.conf"),
      serverConfig({
        keysDir: at("keys"),
        storeDir: at("store"),
        port,
        portsDir: at("ports"),
        hosts,
        storeBytes: options.storeBytes ?? storeBytes,
        pidFile: at("nats.pid"),
      }),
    );
  write(0);
  let server = await start(folder.path);
  const url = server.url;
  write(Number(new URL(url).port));
  const connect = (user: string) =>
    connectBus({ server: url, user, seedFile: seedFile(at("keys"), user), log: silentLog });
  for (const account of ["CORE", "AUDIT"] as const) {
    await using bus = await connect(`provision-${account.toLowerCase()}`);
    await provision(bus, account, { storeBytes: options.storeBytes ?? storeBytes });
  }
  return {
    url,
    keysDir: at("keys"),
    get monitor() {
      return server.monitor;
    },
    get process() {
      return server.process;
    },
    connect,
    async restart() {
      await kill(server.process);
      server = await start(folder.path);
    },
    async [Symbol.asyncDispose]() {
      await kill(server.process);
      folder[Symbol.dispose]();
    },
  };
}

async function start(folder: string) {
  // Dies with the test's process, also when that is killed.
  const command = ["--pdeathsig", "KILL", "--", natsServerPath(), "-c", join(folder, "nats.conf")];
  const child = spawn("setpriv", command, { stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => {
    output = (output + chunk).slice(-4000);
  });
  const ports = await waitFor(
    "nats-server to listen",
    () => {
      if (child.exitCode !== null) throw new Error(`nats-server ended: ${output}`);
      const file = readdirSync(join(folder, "ports")).find((name) => name.includes(`_${child.pid}.ports`));
      if (!file || !output.includes("Server is ready")) return null;
      return JSON.parse(readFileSync(join(folder, "ports", file), "utf8")) as { nats: string[]; monitoring: string[] };
    },
    10_000,
  );
  const [nats, monitoring] = [ports.nats[0], ports.monitoring[0]];
  if (!nats || !monitoring) throw new Error("nats-server does not say where it listens");
  return { process: child, url: nats, monitor: monitoring };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
