// Process edge of the warden. It imports next to nothing, so that it is small and starts in no time, and it outlives its
// supervisor for as long as a worker has time left.
import { startWarden } from "./warden-watch.ts";

const runDir = process.env.AETHER_WORKER_RUN_DIR;
if (!runDir) throw new Error("AETHER_WORKER_RUN_DIR is missing: the folder shared with the worker");

const log = (msg: string, fields: Record<string, unknown>): void => {
  process.stderr.write(`${JSON.stringify({ level: 40, time: Date.now(), name: "warden", ...fields, msg })}\n`);
};
const supervisor = process.ppid;
const warden = startWarden({ runDir, log });

// A Ctrl-C at the terminal is meant for the supervisor, which ends the warden last.
for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
setInterval(() => {
  if (process.ppid !== supervisor && !warden.isNeeded()) process.exit();
}, 1_000);
