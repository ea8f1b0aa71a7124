// Tells, for `aether doctor`, whether this host can make a sandbox: one JSON document on standard output.
import { createId } from "@aether/contracts";
import { readConfig } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { startDriver, WorkerConfig } from "./index.ts";

const config = readConfig(
  WorkerConfig.pick({ AETHER_WORKER_INSTANCE: true, AETHER_WORKER_STATE_DIR: true, AETHER_WORKER_RUN_DIR: true }),
  process.env,
);
const log = openLog({ name: "probe", file: null, level: "error" });
await using driver = await startDriver({ ...config, AETHER_WORKER_WARM_DISKS: 0 }, createId("wrk"), log);
process.stdout.write(`${JSON.stringify(await driver.probe())}\n`);
