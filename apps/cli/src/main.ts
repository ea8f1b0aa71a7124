// The process edge: arguments, environment and streams in, an exit code out.
import { runCli } from "./cli.ts";
import { createOutput, flushed } from "./terminal.ts";

const closed = new AbortController();
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    closed.abort();
  });
}

const exitCode = await runCli({
  argv: process.argv.slice(2),
  env: process.env,
  terminal: { out: createOutput(process.stdout), err: createOutput(process.stderr), closed: closed.signal },
  stdin: process.stdin,
});
// What is still on its way to a pipe would be lost with the process.
await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
process.exit(exitCode);
