// Process edge of the policy service. A process whose place another instance took ends with a code of its own, so that a
// supervisor can leave it down instead of letting two instances take over from each other for ever.
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { PolicyConfig, startPolicy } from "./index.ts";

const supersededExit = 3;

const config = readConfig(PolicyConfig, process.env);
const log = openLog({ name: "policy", file: config.AETHER_LOG_FILE ?? null });
await runMain(async () => {
  const policy = await startPolicy(config, log);
  void policy.superseded.then(async (reason) => {
    log.error({ reason }, "another policy instance took over, this one ends");
    await policy[Symbol.asyncDispose]();
    process.exit(supersededExit);
  });
  return policy;
});
