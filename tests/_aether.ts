// The whole system for a test: nats-server and every service as a process of its own, in a temporary home, so that each can
// be killed, frozen and started again alone. Nothing is supervised unless the test asks for it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Bus, seedFile } from "@aether/bus";
import { type Client, createClient, createUnixTransport } from "@aether/client";
import { startOpener } from "@aether/opener";
import { reapIncarnations } from "@aether/sandbox";
import { startNats, type TestNats, tempDir, waitFor } from "@aether/testkit";

export type ProgramName =
  | "policy"
  | "artifacts"
  | "jobs"
  | "jobs2"
  | "memory"
  | "events"
  | "secrets"
  | "gateway"
  | "warden"
  | "worker"
  | "warden2"
  | "worker2";

export interface AetherOptions {
  /** Without a worker (and its warden) nothing runs: for what only queues. */
  worker?: boolean;
  /** A second instance of the jobs service. */
  secondJobs?: boolean;
  /** Started again whenever they end, as a supervisor would. */
  supervised?: boolean;
  /** More environment, by program. */
  environment?: Partial<Record<ProgramName, Record<string, string>>>;
  /** Put before `node`, such as faketime. */
  prefix?: Partial<Record<ProgramName, string[]>>;
  storeBytes?: number;
}

export interface Program {
  readonly pid: number;
  readonly isRunning: boolean;
  /** Ends it (SIGKILL where nothing else is said) and waits until it is gone. */
  kill(signal?: "SIGKILL" | "SIGTERM"): Promise<void>;
  freeze(): void;
  thaw(): void;
  /** Starts it again after its end. */
  start(): void;
  /** Ends it for good: politely, then by force. */
  end(): Promise<void>;
}

export interface Aether extends AsyncDisposable {
  home: string;
  socket: string;
  client: Client;
  nats: TestNats;
  /** Names the sandboxes of this system's worker on the host. */
  instance: string;
  /** The same of its second worker, which is a host of its own to everybody else. Only a test starts it and its warden. */
  secondInstance: string;
  programs: Record<ProgramName, Program>;
  /** Connects as one of the bus users. */
  connect(user: string): Promise<Bus>;
  /** What a program has logged. */
  log(name: ProgramName): string;
  /** Waits until every service answers. */
  ready(): Promise<void>;
}

const root = join(import.meta.dirname, "..");
const hosts = ["host-a", "host-b"] as const;
const upMs = 20_000;
let systems = 0;

/** Starts everything and waits until it is up, with a worker that takes jobs. */
export async function startAether(options: AetherOptions = {}): Promise<Aether> {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(tempDir()).path;
  chmodSync(home, 0o755); // the gateway's socket lies in it
  const nats = stack.use(
    await startNats({ hosts: [...hosts], ...(options.storeBytes && { storeBytes: options.storeBytes }) }),
  );
  for (const folder of ["policy", "checkpoints", "files", "jobs", "run", "jobs2", "run2", "log"])
    mkdirSync(join(home, folder), { mode: 0o700 });
  const instance = `t${process.pid.toString(36)}x${(systems++).toString(36)}`;
  const socket = join(home, "aetherd.sock");
  chmodSync(join(home, "files"), 0o711);
  mkdirSync(join(home, "agents"));
  chmodSync(join(home, "agents"), 0o711);
  const openerEnv = { PATH: process.env.PATH ?? "", ...compileCache() };
  stack.use(
    await startOpener({ socketPath: join(home, "opener.sock"), uid: 0, filesDir: join(home, "files"), env: openerEnv }),
  );
  const specs = programSpecs(home, nats, instance, socket);
  const programs = {} as Record<ProgramName, Program>;
  for (const name of Object.keys(specs) as ProgramName[]) {
    const { main, env } = specs[name];
    programs[name] = createProgram({
      // With the young heap that aetherd gives them.
      command: [...(options.prefix?.[name] ?? []), process.execPath, "--max-semi-space-size=8", join(root, main)],
      env: {
        PATH: process.env.PATH ?? "",
        ...compileCache(),
        AETHER_LOG_FILE: join(home, "log", `${name}.jsonl`),
        ...env,
        ...options.environment?.[name],
      },
      outputFile: join(home, "log", `${name}.out`),
      supervised: options.supervised ?? false,
    });
  }
  const wanted = (Object.keys(specs) as ProgramName[]).filter(
    (name) =>
      (name !== "jobs2" || options.secondJobs) &&
      name !== "worker2" &&
      name !== "warden2" &&
      ((name !== "worker" && name !== "warden") || options.worker !== false),
  );
  // What killed workers left is removed as their next incarnation would.
  for (const { instance: name, stateDir, runDir } of workerPlaces(home, instance))
    stack.defer(async () => void (await reapIncarnations({ instance: name, stateDir, runDir, incarnation: "none" })));
  // In reverse: the worker leaves before what it reports to.
  stack.defer(async () => {
    for (const name of [
      "gateway",
      "worker",
      "worker2",
      "warden",
      "warden2",
      "jobs2",
      "jobs",
      "artifacts",
      "memory",
      "events",
      "secrets",
      "policy",
    ] as const)
      await programs[name].end();
  });
  for (const name of wanted) programs[name].start();

  const client = createClient(createUnixTransport(socket));
  const log = (name: ProgramName) =>
    ["jsonl", "out"]
      .map((ending) => join(home, "log", `${name}.${ending}`))
      .filter(existsSync)
      .map((file) => readFileSync(file, "utf8"))
      .join("\n");
  const ready = async () => {
    await waitFor(
      "every service to be up",
      async () => (await client.health()).services.every((service) => service.up),
      upMs,
    );
    if (options.worker !== false)
      await waitFor("the worker to take jobs", () => log("worker").includes("worker takes jobs"), upMs);
  };
  try {
    await ready();
  } catch (error) {
    throw new Error(
      `the system did not come up:\n${wanted.map((name) => `--- ${name}\n${log(name).slice(-1500)}`).join("\n")}`,
      { cause: error },
    );
  }
  const running = stack.move();
  return {
    home,
    socket,
    client,
    nats,
    instance,
    secondInstance: `${instance}b`,
    programs,
    connect: (user) => nats.connect(user),
    log,
    ready,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function programSpecs(
  home: string,
  nats: TestNats,
  instance: string,
  socket: string,
): Record<ProgramName, { main: string; env: Record<string, string> }> {
  const seed = (user: string) => seedFile(nats.keysDir, user);
  const at = (name: string) => join(home, name);
  const url = { AETHER_NATS_URL: nats.url };
  const jobs = (view: string) => ({
    main: "services/jobs/src/main.ts",
    env: {
      ...url,
      AETHER_JOBS_SEED_FILE: seed("jobs"),
      AETHER_JOBS_VIEW_FILE: at(view),
      AETHER_JOBS_RECONCILE_MS: "250",
    },
  });
  const [first, second] = workerPlaces(home, instance).map((place) => ({
    AETHER_WORKER_INSTANCE: place.instance,
    AETHER_WORKER_STATE_DIR: place.stateDir,
    AETHER_WORKER_RUN_DIR: place.runDir,
  }));
  const worker = (place: Record<string, string> | undefined, host: string) => ({
    main: "services/worker/src/main.ts",
    env: {
      ...url,
      ...place,
      AETHER_WORKER_HOST: host,
      AETHER_WORKER_SEED_FILE: seed(`worker-${host}`),
      AETHER_WORKER_CPUS: "8",
      AETHER_WORKER_AGENTS_DIR: at("agents"),
    },
  });
  const warden = (place: Record<string, string> | undefined) => ({
    main: "services/worker/src/warden-main.ts",
    env: { ...place },
  });
  return {
    policy: {
      main: "services/policy/src/main.ts",
      env: {
        ...url,
        AETHER_POLICY_SEED_FILE: seed("policy"),
        AETHER_POLICY_AUDIT_SEED_FILE: seed("policy-audit"),
        AETHER_POLICY_DATA_DIR: at("policy"),
        AETHER_POLICY_CHECKPOINT_DIR: at("checkpoints"),
      },
    },
    artifacts: {
      main: "services/artifacts/src/main.ts",
      env: {
        ...url,
        AETHER_ARTIFACTS_SEED_FILE: seed("artifacts"),
        AETHER_ARTIFACTS_VIEW_FILE: at("artifacts.sqlite"),
        AETHER_ARTIFACTS_DIR: at("files"),
        AETHER_ARTIFACTS_OPENER_SOCKET: at("opener.sock"),
      },
    },
    jobs: jobs("jobs.sqlite"),
    jobs2: jobs("jobs2.sqlite"),
    memory: {
      main: "services/memory/src/main.ts",
      env: {
        ...url,
        AETHER_MEMORY_SEED_FILE: seed("memory"),
        AETHER_MEMORY_VIEWS_DIR: at("memory"),
        AETHER_MEMORY_OPENER_SOCKET: at("opener.sock"),
      },
    },
    events: {
      main: "services/events/src/main.ts",
      env: { ...url, AETHER_EVENTS_SEED_FILE: seed("events"), AETHER_EVENTS_VIEW_FILE: at("events.sqlite") },
    },
    secrets: {
      main: "services/secrets/src/main.ts",
      env: { ...url, AETHER_SECRETS_SEED_FILE: seed("secrets"), AETHER_SECRETS_KEY_FILE: at("secrets.keys") },
    },
    gateway: {
      main: "services/gateway/src/main.ts",
      env: {
        ...url,
        AETHER_GATEWAY_SEED_FILE: seed("gateway"),
        AETHER_GATEWAY_SOCKET: socket,
        AETHER_GATEWAY_AGENTS_DIR: at("agents"),
      },
    },
    warden: warden(first),
    worker: worker(first, hosts[0]),
    warden2: warden(second),
    worker2: worker(second, hosts[1]),
  };
}

/** Where the first worker and the second keep their things. */
function workerPlaces(home: string, instance: string) {
  return [
    { instance, stateDir: join(home, "jobs"), runDir: join(home, "run") },
    { instance: `${instance}b`, stateDir: join(home, "jobs2"), runDir: join(home, "run2") },
  ];
}

function compileCache(): Record<string, string> {
  const cache = process.env.NODE_COMPILE_CACHE;
  return cache ? { NODE_COMPILE_CACHE: cache } : {};
}

function createProgram(spec: {
  command: string[];
  env: Record<string, string>;
  outputFile: string;
  supervised: boolean;
}): Program {
  let child: ChildProcess | null = null;
  let ended = false;
  const isRunning = () => child !== null && child.exitCode === null && child.signalCode === null;

  function start(): void {
    if (ended || isRunning()) return;
    const output = openSync(spec.outputFile, "a");
    // Dies with the test's process, also when that is killed.
    const started = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...spec.command], {
      env: spec.env,
      stdio: ["ignore", output, output],
    });
    child = started;
    if (spec.supervised) started.once("exit", () => setTimeout(start, 100));
  }

  async function kill(signal: NodeJS.Signals): Promise<void> {
    if (!child || !isRunning()) return;
    const gone = once(child, "exit");
    child.kill(signal);
    if (signal !== "SIGKILL") child.kill("SIGCONT");
    await gone;
  }

  return {
    get pid() {
      if (!child?.pid || !isRunning()) throw new Error("the program is not running");
      return child.pid;
    },
    get isRunning() {
      return isRunning();
    },
    kill: (signal = "SIGKILL") => kill(signal),
    freeze: () => void child?.kill("SIGSTOP"),
    thaw: () => void child?.kill("SIGCONT"),
    start,
    async end() {
      ended = true;
      const force = setTimeout(() => child?.kill("SIGKILL"), 10_000);
      await kill("SIGTERM");
      clearTimeout(force);
    },
  };
}
