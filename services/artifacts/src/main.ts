// Process edge of the artifacts service. A process whose place another instance took ends with a code of its own, so that a
// supervisor can leave it down instead of letting two instances take over from each other for ever.
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { ArtifactsConfig, startArtifacts } from "./index.ts";

const supersededExit = 3;

const config = readConfig(ArtifactsConfig, process.env);
const log = openLog({ name: "artifacts", file: config.AETHER_LOG_FILE ?? null });
await runMain(async () => {
  const artifacts = await startArtifacts(config, log);
  void artifacts.superseded.then(() => {
    log.error({}, "another artifacts instance took over, this one ends");
    process.exit(supersededExit);
  });
  return artifacts;
});
