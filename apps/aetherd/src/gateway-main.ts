// Process edge of the gateway under aetherd. As root it connects with its key, makes the socket root's and opens it to the
// group, answers one request of its own so that everything it will ever need is loaded, and then gives up root.
import { connectBus } from "@aether/bus";
import { parseLoopback, startGateway, toRoles } from "@aether/gateway";
import { requestUnix } from "@aether/http";
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { GatewayEdgeConfig, toAccount } from "./edge-config.ts";
import { dropPrivileges } from "./privileges.ts";

const config = readConfig(GatewayEdgeConfig, process.env);
const log = openLog({ name: "gateway", file: config.AETHER_LOG_FILE });
await runMain(async () => {
  const account = toAccount(config);
  const socketPath = config.AETHER_GATEWAY_SOCKET;
  await using held = new AsyncDisposableStack();
  const bus = held.use(
    await connectBus({
      ...{ server: config.AETHER_NATS_URL, user: "gateway", seedFile: config.AETHER_GATEWAY_SEED_FILE, log },
      otlpEndpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
    }),
  );
  const listen = config.AETHER_METRICS_LISTEN;
  const gateway = held.use(
    await startGateway({
      ...{ socketPath, bus, log, ...toRoles(config, account?.gid) },
      ...(account && { socketGid: account.gid }),
      ...(listen !== undefined && { scrapeAddress: parseLoopback(listen) }),
    }),
  );
  const { body } = await requestUnix({ socketPath, method: "GET", path: "/v0/version" });
  await body.resume().toArray();
  dropPrivileges(account);
  gateway.serveAgents(config.AETHER_GATEWAY_AGENTS_DIR);
  return held.move();
});
