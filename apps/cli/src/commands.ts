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
    "policy check": {
      about: "Ask whether something would be allowed",
      load: async () => (await import("./commands/policy-check.ts")).policyCheck,
    },
    "audit ls": {
      about: "List audit records",
      load: async () => (await import("./commands/audit-list.ts")).auditList,
    },
    "audit show": {
      about: "Show an audit record and its place in the chain",
      load: async () => (await import("./commands/audit-show.ts")).auditShow,
    },
    "audit find": {
      about: "Find the records about these bytes",
      load: async () => (await import("./commands/audit-find.ts")).auditFind,
    },
    "audit verify": {
      about: "Verify that the audit log is whole and unchanged",
      load: async () => (await import("./commands/audit-verify.ts")).auditVerify,
    },
    "audit export": {
      about: "Write audit records as lines of JSON",
      load: async () => (await import("./commands/audit-export.ts")).auditExport,
    },
    "audit archive": {
      about: "Seal old audit records into a file",
      load: async () => (await import("./commands/audit-archive.ts")).auditArchive,
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
