// Process edge of the core under aetherd: the services that hold state, in one process, each with its own NATS user. As root it loads its
// code, opens its log and connects with its keys, then gives up root, and only then reads anything that others wrote. It
// begins when its standard input ends: by then the streams are there.
import { ArtifactsConfig, startArtifacts } from "@aether/artifacts";
import { connectBus } from "@aether/bus";
import type { ServiceName } from "@aether/contracts";
import { EventsConfig, startEvents } from "@aether/events";
import { JobsConfig, startJobs } from "@aether/jobs";
import { MemoryConfig, startMemory } from "@aether/memory";
import { PolicyConfig, startPolicy } from "@aether/policy";
import { readKeys, SecretsConfig, startSecrets } from "@aether/secrets";
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { AccountConfig, toAccount } from "./edge-config.ts";
import { dropPrivileges } from "./privileges.ts";

/** sysexits' EX_TEMPFAIL: start it again. */
const supersededExit = 75;

const policyConfig = readConfig(PolicyConfig, process.env);
const jobsConfig = readConfig(JobsConfig, process.env);
const artifactsConfig = readConfig(ArtifactsConfig, process.env);
const memoryConfig = readConfig(MemoryConfig, process.env);
const eventsConfig = readConfig(EventsConfig, process.env);
const secretsConfig = readConfig(SecretsConfig, process.env);
const account = toAccount(readConfig(AccountConfig, process.env));
const log = openLog({ name: "core", file: policyConfig.AETHER_LOG_FILE ?? null });
await runMain(async () => {
  await using held = new AsyncDisposableStack();
  const otlpEndpoint = policyConfig.OTEL_EXPORTER_OTLP_ENDPOINT;
  const connect = async (user: string, seedFile: string, service: ServiceName) =>
    held.use(
      await connectBus({
        server: policyConfig.AETHER_NATS_URL,
        user,
        seedFile,
        otlpEndpoint,
        log: log.child({ service }),
      }),
    );
  const [bus, auditBus, jobsBus, artifactsBus, memoryBus, eventsBus, secretsBus] = await Promise.all([
    connect("policy", policyConfig.AETHER_POLICY_SEED_FILE, "policy"),
    connect("policy-audit", policyConfig.AETHER_POLICY_AUDIT_SEED_FILE, "policy"),
    connect("jobs", jobsConfig.AETHER_JOBS_SEED_FILE, "jobs"),
    connect("artifacts", artifactsConfig.AETHER_ARTIFACTS_SEED_FILE, "artifacts"),
    connect("memory", memoryConfig.AETHER_MEMORY_SEED_FILE, "memory"),
    connect("events", eventsConfig.AETHER_EVENTS_SEED_FILE, "events"),
    connect("secrets", secretsConfig.AETHER_SECRETS_SEED_FILE, "secrets"),
  ]);
  const keys = readKeys(secretsConfig.AETHER_SECRETS_KEY_FILE);
  dropPrivileges(account);
  await process.stdin.resume().toArray();
  const [policy, jobs, artifacts, memory, events, secrets] = await Promise.all([
    startPolicy(policyConfig, log.child({ service: "policy" }), { bus, auditBus }),
    startJobs(jobsConfig, log.child({ service: "jobs" }), { bus: jobsBus }),
    startArtifacts(artifactsConfig, log.child({ service: "artifacts" }), { bus: artifactsBus }),
    startMemory(memoryConfig, log.child({ service: "memory" }), { bus: memoryBus }),
    startEvents(eventsConfig, log.child({ service: "events" }), { bus: eventsBus }),
    startSecrets(secretsConfig, log.child({ service: "secrets" }), { bus: secretsBus, keys }),
  ]);
  held.use(policy);
  held.use(jobs);
  held.use(artifacts);
  held.use(memory);
  held.use(events);
  held.use(secrets);
  void policy.superseded.then((reason) => {
    log.error({ reason }, "another instance writes the audit log");
    process.exit(supersededExit);
  });
  void artifacts.superseded.then(() => {
    log.error({}, "another instance writes the artifacts");
    process.exit(supersededExit);
  });
  return held.move();
});
