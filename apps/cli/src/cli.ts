// From arguments to an exit code: finds the command, reads its options, runs it, and tells what went wrong.
import path from "node:path";
import { type Command, commonOptions, parseCommand } from "./command.ts";
import { commands } from "./commands.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { printCommandHelp, printHelp } from "./help.ts";
import type { Environment, Invocation } from "./invocation.ts";
import { reportError } from "./report.ts";
import type { Terminal } from "./terminal.ts";

export interface CliOptions {
  argv: readonly string[];
  env: Environment;
  terminal: Terminal;
  stdin: NodeJS.ReadStream;
}

/** Runs the command line and answers the exit code. */
export async function runCli({ argv, env, terminal, stdin }: CliOptions): Promise<number> {
  let called: { name: string; args: string[] } | undefined;
  try {
    called = findCommand(argv);
    if (!called) {
      printHelp(terminal.out);
      return exitCodes.done;
    }
    const load = commands.get(called.name);
    if (!load) throw new UsageError(`Unknown command '${called.name}'`);
    const command = await load();
    return await runCommand(command, called.args, { env, terminal, stdin });
  } catch (error) {
    const json = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : undefined).includes("--json");
    const code = await reportError(terminal.err, error, {
      command: called && commands.has(called.name) ? called.name : undefined,
      json,
    });
    // `run` has the exit codes of the job: what is Aether's own must not look like one of them.
    const isRun = called?.name === "run" || called?.name === "agent run";
    return isRun && code !== exitCodes.usage ? (await import("./exit-code.ts")).aetherFailed : code;
  }
}

async function runCommand(command: Command, args: string[], rest: Omit<CliOptions, "argv">): Promise<number> {
  const { values, operands } = parseCommand(command, args);
  if (values.help) {
    printCommandHelp(rest.terminal.out, command);
    return exitCodes.done;
  }
  const text = (name: string) => (typeof values[name] === "string" ? values[name] : undefined);
  const home = text("home");
  const env: Environment = { ...rest.env, ...(home !== undefined && { AETHER_HOME: path.resolve(home) }) };
  const cleanup = new DisposableStack();
  const layout: Invocation["layout"] = async () => (await import("./place.ts")).findLayout(env);
  const socket: Invocation["socket"] = async () =>
    text("socket") ?? (home === undefined ? env.AETHER_SOCKET : undefined) ?? (await layout()).socket;
  try {
    const running = command.run({
      values,
      operands,
      json: values.json === true,
      terminal: rest.terminal,
      stdin: rest.stdin,
      env,
      layout,
      socket,
      async connect() {
        const { createClient, createUnixTransport } = await import("@aether/client");
        const tokenFile = text("token-file") ?? rest.env.AETHER_TOKEN_FILE;
        const token = tokenFile ? (await import("./token-file.ts")).readToken(tokenFile) : undefined;
        const options = token === undefined ? {} : { token };
        return createClient(cleanup.use(createUnixTransport(await socket(), options)));
      },
    });
    return await (command.outlivesPipe ? running : Promise.race([running, pipeClosed(rest.terminal)]));
  } finally {
    cleanup.dispose();
  }
}

function pipeClosed({ closed }: Terminal): Promise<number> {
  return new Promise((resolve) => closed.addEventListener("abort", () => resolve(exitCodes.pipeClosed)));
}

/** The command's name, of one word or two, and what follows it. Common options may stand before it. */
function findCommand(argv: readonly string[]): { name: string; args: string[] } | undefined {
  const before: string[] = [];
  let at = 0;
  for (let word = argv[at]; word?.startsWith("-"); word = argv[at]) {
    if (word === "--version" || word === "-v") return { name: "version", args: [...before, ...argv.slice(at + 1)] };
    if (word === "--help" || word === "-h") return undefined;
    before.push(word);
    at += 1;
    const takesValue = Object.entries(commonOptions).some(
      ([name, { type }]) => type === "text" && word === `--${name}`,
    );
    const value = argv[at];
    if (takesValue && value !== undefined) {
      before.push(value);
      at += 1;
    }
  }
  const first = argv[at];
  if (first === undefined || first === "help") return undefined;
  const second = argv[at + 1];
  const seconds = [...commands.keys()].flatMap((name) =>
    name.startsWith(`${first} `) ? [name.slice(first.length + 1)] : [],
  );
  if (seconds.length === 0) return { name: first, args: [...before, ...argv.slice(at + 1)] };
  if (second === undefined || !seconds.includes(second)) {
    if (argv.includes("--help") || argv.includes("-h")) return undefined;
    throw new UsageError(`\`aether ${first}\` needs one of: ${seconds.join(", ")}`);
  }
  return { name: `${first} ${second}`, args: [...before, ...argv.slice(at + 2)] };
}
