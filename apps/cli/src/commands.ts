// Every command there is, in the order of the help. A command's code is loaded when it is called, and not before: the help
// and `version` answer before the contracts would have been read.
import type { Command } from "./command.ts";

interface Entry {
  readonly about: string;
  /** Absent where the launcher does it. */
  readonly load?: () => Promise<Command>;
}

export const groups: Readonly<Record<string, Readonly<Record<string, Entry>>>> = {
  "Start and stop": {
    demo: {
      about: "Start everything, run a job, show what happened, end everything",
      load: async () => (await import("./commands/demo.ts")).demo,
    },
    up: { about: "Start Aether on this machine", load: async () => (await import("./commands/up.ts")).up },
    down: { about: "End it", load: async () => (await import("./commands/down.ts")).down },
    health: { about: "Health of every service", load: async () => (await import("./commands/health.ts")).health },
    doctor: {
      about: "Say what of this machine works, what does not, and what mends it",
      load: async () => (await import("./commands/doctor.ts")).doctor,
    },
    version: {
      about: "Versions of client and server",
      load: async () => (await import("./commands/version.ts")).version,
    },
  },
  Jobs: {
    run: {
      about: "Run a command in a sandbox and follow it",
      load: async () => (await import("./commands/run.ts")).run,
    },
    ps: { about: "List jobs", load: async () => (await import("./commands/ps.ts")).ps },
    logs: { about: "Read or follow the log of a job", load: async () => (await import("./commands/logs.ts")).logs },
    inspect: {
      about: "Show a job with its events and audit records",
      load: async () => (await import("./commands/inspect.ts")).inspect,
    },
    wait: { about: "Wait until jobs have ended", load: async () => (await import("./commands/wait.ts")).wait },
    stop: { about: "Stop jobs: SIGTERM, then SIGKILL", load: async () => (await import("./commands/stop.ts")).stop },
    kill: { about: "Kill jobs at once", load: async () => (await import("./commands/kill.ts")).kill },
  },
  Agents: {
    whoami: {
      about: "Say who you are to Aether, and with which roles",
      load: async () => (await import("./commands/whoami.ts")).whoami,
    },
    "agents ls": { about: "List agents", load: async () => (await import("./commands/agents-list.ts")).agentsList },
    "agents add": {
      about: "Make an agent: a name with a socket, a folder and limits of its own",
      load: async () => (await import("./commands/agents-add.ts")).agentsAdd,
    },
    "agents show": { about: "Show agents", load: async () => (await import("./commands/agents-show.ts")).agentsShow },
    "agents rm": {
      about: "Remove agents",
      load: async () => (await import("./commands/agents-remove.ts")).agentsRemove,
    },
    "agent run": {
      about: "Run a program as an agent, in a sandbox with its socket and folder",
      load: async () => (await import("./commands/agent-run.ts")).agentRun,
    },
  },
  Artifacts: {
    "artifacts ls": {
      about: "List artifacts",
      load: async () => (await import("./commands/artifacts-list.ts")).artifactsList,
    },
    "artifacts put": {
      about: "Store files as artifacts",
      load: async () => (await import("./commands/artifacts-put.ts")).artifactsPut,
    },
    "artifacts get": {
      about: "Write an artifact to a file",
      load: async () => (await import("./commands/artifacts-get.ts")).artifactsGet,
    },
    "artifacts show": {
      about: "Show an artifact and where its file is",
      load: async () => (await import("./commands/artifacts-show.ts")).artifactsShow,
    },
    "artifacts rm": {
      about: "Delete artifacts",
      load: async () => (await import("./commands/artifacts-remove.ts")).artifactsRemove,
    },
    cp: { about: "Copy a file to or from an artifact", load: async () => (await import("./commands/cp.ts")).cp },
  },
  Memory: {
    "memory add": {
      about: "Keep a note or a document",
      load: async () => (await import("./commands/memory-add.ts")).memoryAdd,
    },
    "memory search": {
      about: "Find what was kept, with where it stands",
      load: async () => (await import("./commands/memory-search.ts")).memorySearch,
    },
    "memory show": {
      about: "Show an entry, or some lines of it",
      load: async () => (await import("./commands/memory-show.ts")).memoryShow,
    },
    "memory rm": {
      about: "Forget entries",
      load: async () => (await import("./commands/memory-remove.ts")).memoryRemove,
    },
  },
  Events: {
    events: {
      about: "Read or follow what happens",
      load: async () => (await import("./commands/events.ts")).events,
    },
  },
  Metrics: {
    metrics: {
      about: "Numbers of every service",
      load: async () => (await import("./commands/metrics.ts")).metrics,
    },
  },
  "Policy and audit": {
    "policy ls": {
      about: "List the policies that answer now",
      load: async () => (await import("./commands/policy-list.ts")).policyList,
    },
    "policy check": {
      about: "Ask whether something would be allowed",
      load: async () => (await import("./commands/policy-check.ts")).policyCheck,
    },
    "policy test": {
      about: "Validate policies and try their tests, without a service",
      load: async () => (await import("./commands/policy-test.ts")).policyTest,
    },
    "token create": {
      about: "Make a token that allows less than you may",
      load: async () => (await import("./commands/token-create.ts")).tokenCreate,
    },
    "token ls": {
      about: "List tokens",
      load: async () => (await import("./commands/token-list.ts")).tokenList,
    },
    "token rm": {
      about: "Revoke tokens",
      load: async () => (await import("./commands/token-remove.ts")).tokenRemove,
    },
    "audit ls": {
      about: "List audit records",
      load: async () => (await import("./commands/audit-list.ts")).auditList,
    },
    "audit verify": {
      about: "Verify that the audit log is whole and unchanged",
      load: async () => (await import("./commands/audit-verify.ts")).auditVerify,
    },
  },
  "This checkout": {
    setup: { about: "Fetch and install what is missing" },
    test: { about: "Run the tests" },
    bench: { about: "Run the benchmarks" },
  },
};

/** The commands by name, without the launcher's own. */
export const commands: ReadonlyMap<string, () => Promise<Command>> = new Map(
  Object.values(groups)
    .flatMap((entries) => Object.entries(entries))
    .flatMap(([name, { load }]) => (load ? [[name, load] as const] : [])),
);
