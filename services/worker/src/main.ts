// Process edge of the worker. When its lease is over the process ends, and its supervisor starts the next incarnation.
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { startWorker, WorkerConfig } from "./index.ts";

const leaseLostExit = 75; // sysexits' EX_TEMPFAIL: start it again
const lastWordsMs = 2_000;

const config = readConfig(WorkerConfig, process.env);
const log = openLog({ name: "worker", file: config.AETHER_LOG_FILE ?? null });
let isEnding = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    isEnding = true;
  });
}
/** Who is told to end meanwhile gives back what he holds, in his own time. */
const endUnlessEnding = () => {
  if (!isEnding) process.exit(leaseLostExit);
};
await runMain(() => startWorker(config, log, () => setTimeout(endUnlessEnding, lastWordsMs)));
