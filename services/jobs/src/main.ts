// Process edge of the jobs service.
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { JobsConfig, startJobs } from "./index.ts";

const config = readConfig(JobsConfig, process.env);
const log = openLog({ name: "jobs", file: config.AETHER_LOG_FILE ?? null });
await runMain(() => startJobs(config, log));
