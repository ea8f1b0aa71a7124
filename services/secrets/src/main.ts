// Process edge of the secrets service.
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { SecretsConfig, startSecrets } from "./index.ts";

const config = readConfig(SecretsConfig, process.env);
const log = openLog({ name: "secrets", file: config.AETHER_LOG_FILE ?? null });
await runMain(() => startSecrets(config, log));
