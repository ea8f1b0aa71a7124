// Process edge of the events service.
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { EventsConfig, startEvents } from "./index.ts";

const config = readConfig(EventsConfig, process.env);
const log = openLog({ name: "events", file: config.AETHER_LOG_FILE ?? null });
await runMain(() => startEvents(config, log));
