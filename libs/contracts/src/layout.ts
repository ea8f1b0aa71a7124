// Where everything of an installation is: one pure function from who asks and what his environment says to every path, so
// that the daemon, the command line and the doctor cannot disagree. Root has the system's folders, anybody else the XDG
// ones, and a home of its own puts all under one folder, for either.

/** The kernel's limit for the path of a unix socket, without its closing zero. */
const socketPathBytes = 107;

export interface LayoutInput {
  uid: number;
  /** The environment; only AETHER_HOME, HOME and the XDG folders are looked at. */
  env: Readonly<Record<string, string | undefined>>;
  /** What `--home` says; goes before AETHER_HOME. */
  home?: string | undefined;
}

export interface Layout {
  /** The folder that holds all of it, where there is one. */
  home: string | null;
  runDir: string;
  /** The HTTP API. */
  socket: string;
  /** The sockets of agents, each in a folder of its agent's name. */
  agentsDir: string;
  /** What runs: written by the daemon for `down` and `doctor`. */
  stateFile: string;
  /** Held by the one daemon that serves this layout. */
  lockFile: string;
  dataDir: string;
  jobsDir: string;
  artifactsDir: string;
  memoryDir: string;
  auroraDir: string;
  natsDir: string;
  keysDir: string;
  policyDir: string;
  viewsDir: string;
  logDir: string;
}

/** No layout can be had from what was given; the message says what to set. */
export class LayoutError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "LayoutError";
  }
}

/** Every path of an installation; throws LayoutError. */
export function resolveLayout({ uid, env, home }: LayoutInput): Layout {
  const layout = toLayout(...bases(uid, env, home || env.AETHER_HOME || null));
  const bytes = new TextEncoder().encode(layout.socket).length;
  if (bytes > socketPathBytes) {
    throw new LayoutError(
      `the socket's path is ${bytes} bytes long and the kernel takes ${socketPathBytes}: ${layout.socket}; choose a shorter folder with --home or AETHER_HOME`,
    );
  }
  return layout;
}

type Bases = [home: string | null, runDir: string, dataDir: string, logDir: string];

function bases(uid: number, env: LayoutInput["env"], home: string | null): Bases {
  if (home !== null) {
    const folder = requireAbsolute("the home", home);
    return [folder, `${folder}/run`, `${folder}/data`, `${folder}/log`];
  }
  if (uid === 0) return [null, "/run/aether", "/var/lib/aether", "/var/log/aether"];
  const own = (name: "XDG_STATE_HOME" | "XDG_DATA_HOME", fallback: string) =>
    env[name] ? requireAbsolute(name, env[name]) : `${requireHome(env)}/${fallback}`;
  const state = `${own("XDG_STATE_HOME", ".local/state")}/aether`;
  // Without a session there is no XDG_RUNTIME_DIR: the state folder is the user's alone as well.
  const run = env.XDG_RUNTIME_DIR
    ? `${requireAbsolute("XDG_RUNTIME_DIR", env.XDG_RUNTIME_DIR)}/aether`
    : `${state}/run`;
  return [null, run, `${own("XDG_DATA_HOME", ".local/share")}/aether`, `${state}/log`];
}

function toLayout(...[home, runDir, dataDir, logDir]: Bases): Layout {
  return {
    home,
    runDir,
    socket: `${runDir}/aetherd.sock`,
    agentsDir: `${runDir}/agents`,
    stateFile: `${runDir}/aetherd.json`,
    lockFile: `${runDir}/aetherd.lock`,
    dataDir,
    jobsDir: `${dataDir}/jobs`,
    artifactsDir: `${dataDir}/artifacts`,
    memoryDir: `${dataDir}/memory`,
    auroraDir: `${dataDir}/aurora`,
    natsDir: `${dataDir}/nats`,
    keysDir: `${dataDir}/keys`,
    policyDir: `${dataDir}/policy`,
    viewsDir: `${dataDir}/views`,
    logDir,
  };
}

function requireAbsolute(name: string, path: string): string {
  if (!path.startsWith("/")) throw new LayoutError(`${name} must be an absolute path: ${path}`);
  return path.replace(/\/+$/, "");
}

function requireHome(env: LayoutInput["env"]): string {
  if (!env.HOME) throw new LayoutError("neither HOME nor AETHER_HOME is set; name a folder with --home");
  return requireAbsolute("HOME", env.HOME);
}
