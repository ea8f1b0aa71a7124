// What every sandbox driver offers, and what it promises.
//
// A sandbox is made in two steps, so that "starting" can mean "nothing was executed": `prepare` builds everything
// (disk, cgroup, namespaces) and stops just before the command's exec; `release` lets it go. A sandbox that is disposed
// before its release never ran a byte of the job. When the process that made it dies at any point, the command is
// either never released or dies with it; when that process is frozen, the warden (services/worker) ends the cgroup.
//
// The worker is the only caller. Nothing here knows of jobs, leases or the bus.
import type { Readable } from "node:stream";

/** What to run and within which limits. All sizes are bytes, all rates bytes per second. */
export interface SandboxSpec {
  /** Unique on this host: names the cgroup, the disk and the folders. `[a-z0-9_-]{1,100}`. */
  id: string;
  command: readonly string[];
  /** Reaches the command's own exec and no launcher before it. */
  env: Readonly<Record<string, string>>;
  /** Absolute, under /workspace, /outputs or /tmp; created when missing. */
  workingDir: string;
  /** Given to the command's standard input, then closed; null is an empty input. */
  stdin: Uint8Array | null;
  /**
   * Files in memory that the command alone can read, each at an absolute path of a folder of its own, `/secrets/NAME`. They are
   * gone with the sandbox, are never on a disk nor swapped out, and count as its memory.
   */
  secrets?: readonly SecretFile[];
  /** Puts files on its disk before anything of it runs; what it throws, `prepare` throws. Needs a disk, so root. */
  fill?(room: Room): Promise<void>;
  /** Who comes back: the same uid and, in /workspace, the same files each time. One sandbox at a time. */
  resident?: Resident;
  limits: {
    /** Cores; fractions allowed. */
    cpus: number;
    memoryBytes: number;
    pids: number;
    /** Together for /workspace and /outputs; a file system of that size, never a count. */
    diskBytes: number;
    readBps: number | null;
    writeBps: number | null;
  };
}

/** As an ordinary user there are neither a uid nor a disk of its own: then /workspace is memory, as in every sandbox. */
export interface Resident {
  /** Names its disk and its uid on this host: `[a-z0-9-]{1,32}`. */
  name: string;
  /** A folder of this host, seen at /run/aether: the sockets in it can be reached. Opened to the resident's own group. */
  sockets: string;
}

export interface SecretFile {
  path: string;
  /** Not needed any more when `prepare` has answered. */
  bytes: Uint8Array;
}

/** The disk of a sandbox whose command does not run: not yet, or not any more. */
export interface Room {
  /** Who owns what the command may change. */
  readonly uid: number;
  /** On the host: what is /inputs, /workspace and /outputs inside. */
  readonly inputs: string;
  readonly workspace: string;
  readonly outputs: string;
  /**
   * Runs a tool of the host's /usr, confined as the command is and as its uid, with its folders where the command has them.
   * It may write to them only with `writes`.
   */
  run(command: readonly string[], options?: ToolOptions): Tool;
}

export interface ToolOptions {
  stdin?: AsyncIterable<Uint8Array>;
  writes?: boolean;
}

/** A tool that runs in a room. */
export interface Tool {
  readonly stdout: Readable;
  /** Settles when it has ended well; rejects, with what it printed, when it has not. */
  readonly ended: Promise<void>;
}

/** By which mechanism each limit holds ("cgroup1", "cgroup2", "loop", "tmpfs"), "none" where it does not hold. */
export interface Enforced {
  memory: string;
  cpus: string;
  pids: string;
  disk: string;
  io: string;
}

/** How the main process ended. Exactly one of `exitCode` and `signal` is set. */
export interface Exit {
  exitCode: number | null;
  signal: string | null;
}

/** What the whole tree used, read from its cgroup; final once the tree is empty. */
export interface Usage {
  cpuMs: number;
  memoryPeakBytes: number;
  ioReadBytes: number;
  ioWriteBytes: number;
  oomKills: number;
  pidsPeak: number;
}

/** One prepared or running sandbox. */
export interface Sandbox extends AsyncDisposable {
  readonly id: string;
  readonly enforced: Enforced;
  /** Ends when every process holding it is gone. Reads are back-pressured. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Lets the command run. Call once, after `running` is stored. */
  release(): void;
  /** Sends a signal to the command's main process only; false before the release and when it has ended. */
  signal(signal: "SIGTERM" | "SIGINT"): boolean;
  /** SIGKILLs the whole tree at once (cgroup.kill). Idempotent. */
  kill(): void;
  /** Settles when the main process has ended; what it left running may still live. */
  readonly exited: Promise<Exit>;
  /** Resolves true when no process is left in the tree, false after `timeoutMs` (unkillable). */
  empty(timeoutMs: number): Promise<boolean>;
  usage(): Promise<Usage>;
  /** Its disk, for tools, once its tree is empty; null where it has none. They are in its tree: `kill` ends them. */
  readonly room: Room | null;
  /** Kills what still runs, waits until the tree is empty, and removes cgroup, mounts, disk and folders. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Why a driver cannot do what is asked: `cause` says what is missing, `mend` the one thing to do about it. */
export interface Problem {
  cause: string;
  mend: string;
}

/** A typed refusal of `prepare`: nothing was executed. */
export class SandboxUnavailable extends Error {
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[], options?: ErrorOptions) {
    super(problems.map((p) => `${p.cause} ${p.mend}`).join(" "), options);
    this.name = "SandboxUnavailable";
    this.problems = problems;
  }
}

/** The refusal of a disk that there is no room for now; another try may find some. */
export class NoRoom extends SandboxUnavailable {}

export interface Driver extends AsyncDisposable {
  readonly name: "bubblewrap";
  /** Room for more disks, bytes, were every disk in use filled; null where disks are memory. */
  freeDiskBytes(): number | null;
  /** Whether this host can give everything, tried for real (a sandbox is made and ended), with cause and mend where not. */
  probe(): Promise<{ usable: boolean; problems: Problem[]; enforced: Enforced | null }>;
  /** Everything up to, not including, the command's exec. Throws SandboxUnavailable; leaves nothing behind when it throws. */
  prepare(spec: SandboxSpec): Promise<Sandbox>;
}
