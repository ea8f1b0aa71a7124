// Process edge of the gateway.
import { connectBus } from "@aether/bus";
import { findGid, readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { GatewayConfig } from "./config.ts";
import { parseLoopback, startGateway, toRoles } from "./index.ts";

const config = readConfig(GatewayConfig, process.env);
const log = openLog({ name: "gateway", file: config.AETHER_LOG_FILE ?? null });
await runMain(async () => {
  const { AETHER_GATEWAY_GROUP: group, AETHER_METRICS_LISTEN: listen } = config;
  await using held = new AsyncDisposableStack();
  const bus = held.use(
    await connectBus({
      server: config.AETHER_NATS_URL,
      user: "gateway",
      seedFile: config.AETHER_GATEWAY_SEED_FILE,
      otlpEndpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
      log,
    }),
  );
  const gid = group === undefined ? undefined : findGid(group);
  if (gid === null) throw new Error(`there is no group ${group}`);
  const gateway = held.use(
    await startGateway({
      socketPath: config.AETHER_GATEWAY_SOCKET,
      bus,
      log,
      ...toRoles(config, gid),
      ...(listen !== undefined && { scrapeAddress: parseLoopback(listen) }),
      ...(gid !== undefined && { socketGid: gid }),
    }),
  );
  if (config.AETHER_GATEWAY_AGENTS_DIR !== undefined) gateway.serveAgents(config.AETHER_GATEWAY_AGENTS_DIR);
  return held.move();
});
