// Process edge of the core under aetherd: policy, jobs and artifacts in one process, each with its own NATS user. As root it loads its
// code, opens its log and connects with its keys, then gives up root, and only then reads anything that others wrote. It
// begins when its standard input ends: by then the streams are there.
import { ArtifactsConfig, startArtifacts } from "@aether/artifacts";
import { connectBus } from "@aether/bus";
import { JobsConfig, startJobs } from "@aether/jobs";
import { PolicyConfig, startPolicy } from "@aether/policy";
import { readConfig, runMain } from "@aether/service";
import { openLog } from "@aether/telemetry";
import { AccountConfig, toAccount } from "./edge-config.ts";
import { dropPrivileges } from "./privileges.ts";

/** sysexits' EX_TEMPFAIL: start it again. */
const supersededExit = 75;

const policyConfig = readConfig(PolicyConfig, process.env);
const jobsConfig = readConfig(JobsConfig, process.env);
const artifactsConfig = readConfig(ArtifactsConfig, process.env);
const account = toAccount(readConfig(AccountConfig, process.env));
const log = openLog({ name: "core", file: policyConfig.AETHER_LOG_FILE ?? null });
await runMain(async () => {
  await using held = new AsyncDisposableStack();
  const connect = async (user: string, seedFile: string, service: "policy" | "jobs" | "artifacts") =>
    held.use(await connectBus({ server: policyConfig.AETHER_NATS_URL, user, seedFile, log: log.child({ service }) }));
  const [bus, auditBus, jobsBus, artifactsBus] = await Promise.all([
    connect("policy", policyConfig.AETHER_POLICY_SEED_FILE, "policy"),
    connect("policy-audit", policyConfig.AETHER_POLICY_AUDIT_SEED_FILE, "policy"),
    connect("jobs", jobsConfig.AETHER_JOBS_SEED_FILE, "jobs"),
    connect("artifacts", artifactsConfig.AETHER_ARTIFACTS_SEED_FILE, "artifacts"),
  ]);
  dropPrivileges(account);
  await process.stdin.resume().toArray();
  const [policy, jobs, artifacts] = await Promise.all([
    startPolicy(policyConfig, log.child({ service: "policy" }), { bus, auditBus }),
    startJobs(jobsConfig, log.child({ service: "jobs" }), { bus: jobsBus }),
    startArtifacts(artifactsConfig, log.child({ service: "artifacts" }), { bus: artifactsBus }),
  ]);
  held.use(policy);
  held.use(jobs);
  held.use(artifacts);
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
