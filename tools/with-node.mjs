// with-node.mjs COMMAND [ARGUMENT…]: runs a command with the project's Node and its tools first on PATH.
//
// npm starts root scripts with whatever Node the machine has, and that may be too old for the project's own tools. This file must
// parse on Node 18. Signals are passed on and the command's end, exit code or signal, becomes ours.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const WANTED_MAJOR = 24;

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const modules = path.join(root, "node_modules");
const bundled = path.join(modules, `node-${process.platform}-${process.arch}`, "bin");
const [command, ...args] = process.argv.slice(2);

if (!existsSync(bundled) && Number.parseInt(process.versions.node, 10) < WANTED_MAJOR) {
  console.error(
    `Node ${WANTED_MAJOR} or newer is needed; this is ${process.version}. Run ./aether setup, or install one.`,
  );
  process.exit(78);
}

const env = {
  ...process.env,
  PATH: [
    existsSync(bundled) ? bundled : path.dirname(process.execPath),
    path.join(modules, ".bin"),
    process.env.PATH,
  ].join(":"),
  TURBO_TELEMETRY_DISABLED: "1",
};
const child = spawn(command, args, { stdio: "inherit", env });
const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
for (const signal of signals) process.on(signal, () => child.kill(signal));
child.on("error", (error) => {
  console.error(`cannot start ${command}: ${error.message}`);
  process.exitCode = 127;
});
child.on("exit", (code, signal) => {
  if (signal === null) process.exitCode = code ?? 1;
  else {
    for (const each of signals) process.removeAllListeners(each);
    process.kill(process.pid, signal);
  }
});
