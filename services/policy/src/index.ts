// The policy service: decides every action and keeps the audit log. One instance writes the log at a time: the one that
// started last. An instance that finds itself replaced stops serving and stays stopped.
import { join } from "node:path";
import { type Bus, connectBus, serve } from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import { createRegistry, type Logger } from "@aether/telemetry";
import { openAuditLog } from "./audit-log.ts";
import { type AuditView, openAuditView } from "./audit-view.ts";
import type { PolicyConfig } from "./config.ts";
import { createDecider } from "./decider.ts";
import { openDesk } from "./desk.ts";
import { openEngine } from "./engine.ts";
import { policyHandlers } from "./handlers.ts";
import { createPolicyMetrics } from "./metrics.ts";
import { startOutcomes } from "./outcomes.ts";
import { readPolicyFiles } from "./policy-files.ts";
import { startReload } from "./reload.ts";
import { startTally } from "./tally.ts";
import { openTokens } from "./tokens.ts";
import { verifyLog } from "./verify.ts";

export { PolicyConfig } from "./config.ts";

const version = "0.1.0";

export interface Policy extends AsyncDisposable {
  /** Settles with the reason when another instance took over the audit log; this one serves no more. */
  readonly superseded: Promise<string>;
}

/** Starts the service; resolves when it serves. Disposing it answers what is asked already and ends the audit log cleanly. */
export async function startPolicy(
  config: PolicyConfig,
  log: Logger,
  overrides: { bus?: Bus; auditBus?: Bus; clock?: { now(): Date }; lookEveryMs?: number } = {},
): Promise<Policy> {
  await using stack = new AsyncDisposableStack();
  const ownDir = config.AETHER_POLICY_OWN_POLICIES_DIR ?? null;
  const engine = openEngine(await readPolicyFiles(ownDir));
  const reload = stack.use(startReload(engine, ownDir, log, overrides.lookEveryMs));
  const server = config.AETHER_NATS_URL;
  const auditSeed = config.AETHER_POLICY_AUDIT_SEED_FILE;
  const seed = config.AETHER_POLICY_SEED_FILE;
  const auditBus =
    overrides.auditBus ?? stack.use(await connectBus({ server, user: "policy-audit", seedFile: auditSeed, log }));
  const otlpEndpoint = config.OTEL_EXPORTER_OTLP_ENDPOINT;
  const bus =
    overrides.bus ?? stack.use(await connectBus({ server, user: "policy", seedFile: seed, otlpEndpoint, log }));
  const metrics = createRegistry();
  const measures = createPolicyMetrics(metrics);
  const audit = stack.use(
    await openAuditLog({
      bus: auditBus,
      dataDir: config.AETHER_POLICY_DATA_DIR,
      checkpointDir: config.AETHER_POLICY_CHECKPOINT_DIR,
      sealBytes: config.AETHER_POLICY_SEAL_BYTES,
      log,
      measure: measures.append,
    }),
  );
  measures.watch(audit);
  const view = stack.use(
    startView(
      () =>
        openAuditView({
          bus: auditBus,
          file: join(config.AETHER_POLICY_DATA_DIR, "audit/view.sqlite"),
          segmentsDir: audit.segmentsDir,
        }),
      log,
    ),
  );
  const clock = overrides.clock ?? { now: () => new Date() };
  const operators = config.AETHER_OPERATORS ?? { uids: [0], gids: [] };
  const desk = stack.use(
    await openDesk({ bus, engine, log: audit, operators, clock, logger: log, onEnd: measures.answered }),
  );
  measures.watchApprovals(desk.approvals);
  stack.use(await startOutcomes({ bus, log: audit, onEnded: desk.jobEnded }));
  const tally = stack.use(startTally(audit.append, log));
  const tokens = openTokens(desk.permissions, join(config.AETHER_POLICY_DATA_DIR, "tokens.key"));
  const decider = measures.decider(createDecider({ engine, asking: desk.asking, tokens, tally, log: audit }));
  const { checkpoints, segmentsDir } = audit;
  const served = stack.use(
    await serve(bus, {
      service: "policy",
      version,
      description: "Decides every action and keeps the audit log",
      metrics,
      handlers: policyHandlers({
        version,
        engine,
        operators,
        reloadError: () => reload.error,
        decider,
        desk,
        tokens,
        log: audit,
        view: view.get,
        verify: oneAtATime(() => verifyLog({ bus: auditBus, segmentsDir, checkpoints })),
        degraded: () => [
          ...(reload.error ? [`changed policies are not valid, older ones answer: ${reload.error}`] : []),
          ...audit.degraded(),
        ],
      }),
      idempotency: true,
      decide: (request) => decider.decide(request, "policy"),
    }),
  );
  const superseded = Promise.race([audit.superseded, desk.superseded]).then(async (reason) => {
    await served[Symbol.asyncDispose]();
    return reason;
  });
  const running = stack.move();
  return { superseded, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Opens the view beside everything else: decisions do not wait for a list to catch up. */
function startView(open: () => Promise<AuditView>, log: Logger): { get(): AuditView } & AsyncDisposable {
  let view: AuditView | null = null;
  const opening = open().then(
    (opened) => {
      view = opened;
    },
    (error: unknown) => log.error({ err: error }, "the audit view could not be opened"),
  );
  return {
    get() {
      if (view) return view;
      throw new ProblemError("unavailable", { detail: "the audit view is not ready yet", retry_after_ms: 1000 });
    },
    async [Symbol.asyncDispose]() {
      await opening;
      await view?.[Symbol.asyncDispose]();
    },
  };
}

/** Joins calls that come while one is running: all are given its result. */
function oneAtATime<T>(run: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | null = null;
  return () => {
    running ??= run().finally(() => {
      running = null;
    });
    return running;
  };
}
