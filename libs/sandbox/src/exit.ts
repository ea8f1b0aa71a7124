// How a sandbox ended, from what bwrap reports.
//
// bwrap reports a death by signal n as the exit code 128 + n, as shells do, and an ordinary exit with such a code cannot be
// told from it. A code above 128 that names a signal is therefore given as that signal.
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { isAbsolute, join } from "node:path";
import type { Exit, SandboxSpec } from "./driver.ts";
import type { LauncherExit } from "./launch.ts";

const COMMAND_NOT_FOUND = 127;
const COMMAND_NOT_EXECUTABLE = 126;
const SET_UP_FAILED = 1;
// Reversed: of two names for one number (SIGABRT, SIGIOT) the first stands.
const signalNames = new Map(
  Object.entries(constants.signals)
    .reverse()
    .map(([name, number]) => [number, name]),
);

/** The main process's end; `hostPath` finds a file of the sandbox on the host. */
export function toExit(launcher: LauncherExit, spec: SandboxSpec, hostPath: (path: string) => string): Exit {
  if (launcher.reportedCode !== null) return fromCode(launcher.reportedCode);
  if (launcher.signal !== null) return { exitCode: null, signal: launcher.signal };
  // A released sandbox whose command was never executed, while bwrap itself lived: the exec failed. bwrap has written why
  // to the job's stderr; the code is the one a shell would give.
  if (launcher.code === SET_UP_FAILED) return { exitCode: execFailureCode(spec, hostPath), signal: null };
  return fromCode(launcher.code ?? SET_UP_FAILED);
}

function fromCode(code: number): Exit {
  const signal = code > 128 ? signalNames.get(code - 128) : undefined;
  return signal ? { exitCode: null, signal } : { exitCode: code, signal: null };
}

function execFailureCode(spec: SandboxSpec, hostPath: (path: string) => string): number {
  const command = spec.command[0] ?? "";
  const folders = command.includes("/") ? [spec.workingDir] : (spec.env.PATH ?? "/bin:/usr/bin").split(":");
  const candidates = isAbsolute(command) ? [command] : folders.map((folder) => join(folder, command));
  return candidates.some((path) => existsSync(hostPath(path))) ? COMMAND_NOT_EXECUTABLE : COMMAND_NOT_FOUND;
}
