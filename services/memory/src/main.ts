// Process edge of the memory service.
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { MemoryConfig, startMemory } from "./index.ts";

const config = readConfig(MemoryConfig, process.env);
const log = openLog({ name: "memory", file: config.AETHER_LOG_FILE ?? null });
await runMain(() => startMemory(config, log));
