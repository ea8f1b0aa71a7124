// One attempt of one job on this host, from its claim to its last report.
//
//   claimed → secrets taken → inputs in place → sandbox prepared → `running` stored → released → … → tree empty → last log batch stored
//   → outputs stored → `ended` stored
//
// Nothing of the job executes before `running` is stored, and nothing of it lives when `ended` is reported. Reports are
// repeated until they are accepted or refused; a refusal (`conflict`) means that the attempt is not ours any more, and then
// its tree dies and nothing more is said about it. Time runs on the monotonic clock.
import { join } from "node:path";
import {
  type AttemptEvent,
  type Claim,
  type LogBatch,
  limits,
  ProblemError,
  requireBytes,
  requireDurationMs,
} from "@aether/contracts";
import {
  type Driver,
  type Exit,
  NoRoom,
  type Resident,
  type Sandbox,
  type SandboxSpec,
  SandboxUnavailable,
  type Usage,
} from "@aether/sandbox";
import type { Logger, Span, Tracer } from "@aether/telemetry";
import { fillInputs, InputMissing } from "./inputs.ts";
import { startLogPump } from "./log-pump.ts";
import { collectOutputs, type Outputs } from "./outputs.ts";
import { type TakeSecret, takeSecrets } from "./secrets.ts";
import type { Transfers } from "./transfers.ts";

type Order = "stop" | "kill" | "drop";

export interface Attempt {
  readonly claim: Claim;
  /** What it is being ended by, as the next renewal tells. */
  readonly stopping: "stop" | "kill" | null;
  order(order: Order, graceMs: number): void;
  /** Resolves when nothing of it is left on this host and nothing is left to say. */
  readonly done: Promise<void>;
}

export interface AttemptParts {
  driver: Driver;
  /** Null when the warden is alive; else why no sandbox may start. */
  wardenProblem(): string | null;
  /** Whether the deadline at the warden still covers what executes. */
  isCovered(): boolean;
  report(claim: Claim, event: AttemptEvent): Promise<void>;
  appendLog(claim: Claim, batch: LogBatch, bytes: readonly Buffer[]): Promise<void>;
  tracer?: Tracer | null;
  transfers: Transfers;
  /** Where the sockets of agents are; null where there are none. */
  agentsDir: string | null;
  takeSecret: TakeSecret;
  log: Logger;
}

const retryMs = 200;
const emptyLimitMs = 10_000;

export function startAttempt(claimed: Claim, parts: AttemptParts): Attempt {
  const span = startSpan(claimed, parts.tracer ?? null);
  const claim = span ? { ...claimed, traceparent: span.traceparent } : claimed;
  const dropped = new AbortController();
  const state: State = {
    stopping: null,
    sandbox: null,
    released: false,
    graceTimer: null,
    lastReport: Promise.resolve(),
    dropped,
    span,
  };
  const log = parts.log.child({
    job_id: claim.job_id,
    attempt: claim.attempt,
    ...(claim.intent_id ? { intent_id: claim.intent_id } : {}),
  });
  return {
    claim,
    get stopping() {
      return state.stopping;
    },
    order(order, graceMs) {
      log.info({ order, grace_ms: graceMs }, "order received");
      if (order === "drop") dropped.abort();
      endTree(state, order === "stop" ? "stop" : "kill", graceMs);
    },
    done: live(claim, parts, state, log)
      .catch((error: unknown) => log.error({ err: error }, "attempt ended with an error of the worker"))
      .finally(() => span?.end()),
  };
}

/** Of an attempt whose job came with a trace. */
function startSpan({ job_id, attempt, traceparent }: Claim, tracer: Tracer | null): Span | null {
  if (!traceparent) return null;
  const attributes = { "aether.job.id": job_id, "aether.job.attempt": attempt };
  return tracer?.start("job attempt", "internal", traceparent, attributes) ?? null;
}

interface State {
  stopping: "stop" | "kill" | null;
  sandbox: Sandbox | null;
  released: boolean;
  graceTimer: NodeJS.Timeout | null;
  /** Reports go out one after the other, in the order in which things happened. */
  lastReport: Promise<unknown>;
  /** Aborted when the attempt is not ours any more: nothing is reported then. */
  dropped: AbortController;
  span: Span | null;
}

/** SIGTERM to the main process and SIGKILL to the tree after the grace period, or SIGKILL at once. */
function endTree(state: State, how: "stop" | "kill", graceMs: number): void {
  if (state.stopping === "kill" || (state.stopping === "stop" && how === "stop")) return;
  state.stopping = how;
  if (!state.released) return;
  if (how === "kill" || graceMs === 0) {
    state.sandbox?.kill();
    return;
  }
  state.sandbox?.signal("SIGTERM");
  state.graceTimer = setTimeout(() => state.sandbox?.kill(), graceMs);
}

async function live(claim: Claim, parts: AttemptParts, state: State, log: Logger): Promise<void> {
  const sandbox = await prepare(claim, parts, state, log);
  if (!sandbox) return;
  await using _end = sandbox;
  state.sandbox = sandbox;
  if (
    !(await reportUntilHeard(
      parts,
      claim,
      state,
      { event: "running", driver: parts.driver.name, enforced: sandbox.enforced },
      log,
    ))
  )
    return;
  if (state.stopping) {
    await reportUntilHeard(
      parts,
      claim,
      state,
      { event: "refused", reason: "start_failed", message: "ended before its command was released" },
      log,
    );
    return;
  }
  const pump = startLogPump(sandbox.stdout, sandbox.stderr, {
    attempt: claim.attempt,
    log: claim.log,
    send: (batch, bytes) => parts.appendLog(claim, batch, bytes),
    now: Date.now,
    signal: state.dropped.signal,
  });
  pump.done.catch((error: unknown) => {
    if (!state.dropped.signal.aborted)
      log.warn({ err: error }, "the log refuses this attempt: it is not ours any more");
    state.dropped.abort();
    sandbox.kill();
  });
  // This process may have stood still: what the warden has ended must not begin, nor be taken for ended by itself.
  if (!parts.isCovered()) return void (await reportUntilHeard(parts, claim, state, { event: "expired" }, log));
  const startedAt = performance.now();
  sandbox.release();
  state.released = true;
  const exit = await untilExit(claim, parts, state, sandbox, log);
  const runtimeMs = Math.round(performance.now() - startedAt);
  await empty(claim, parts, state, sandbox, log);
  const logs = await pump.done.catch(() => null);
  if (!logs) return;
  if (!parts.isCovered()) return void (await reportUntilHeard(parts, claim, state, { event: "expired" }, log));
  const usage = await sandbox.usage();
  const outputs = await collect(claim, parts, state, sandbox, log);
  if (!parts.isCovered()) return void (await reportUntilHeard(parts, claim, state, { event: "expired" }, log));
  await reportUntilHeard(parts, claim, state, ended(exit, runtimeMs, usage, logs, outputs), log);
  state.span?.set({ "process.exit.code": exit.exitCode ?? -1, "aether.job.runtime_ms": runtimeMs });
  log.info({ exit_code: exit.exitCode, signal: exit.signal, runtime_ms: runtimeMs }, "attempt ended");
}

/** The lease is renewed meanwhile; an order that comes now ends it, as does its grace. */
async function collect(
  claim: Claim,
  parts: AttemptParts,
  state: State,
  sandbox: Sandbox,
  log: Logger,
): Promise<Outputs> {
  const before = state.stopping;
  const wanted = () => state.stopping === before && !state.dropped.signal.aborted;
  const outputs = await collectOutputs(claim, parts.transfers, sandbox.room, wanted, log);
  if (state.graceTimer) clearTimeout(state.graceTimer);
  return outputs;
}

/** A sandbox that waits for its release; null when the attempt has ended before. */
async function prepare(claim: Claim, parts: AttemptParts, state: State, log: Logger): Promise<Sandbox | null> {
  const refuse = async (reason: "sandbox_unavailable" | "input_missing" | "start_failed", message: string) => {
    log.warn({ reason, detail: message }, "attempt refused before its start");
    await reportUntilHeard(parts, claim, state, { event: "refused", reason, message: message.slice(0, 2000) }, log);
    return null;
  };
  const problem = parts.wardenProblem();
  if (problem) return refuse("start_failed", problem);
  try {
    using secrets = await takeSecrets(claim, parts.takeSecret);
    const spec = { ...toSandboxSpec(claim, parts.agentsDir), secrets: secrets.files };
    const { inputs, outputs } = claim.spec;
    if (inputs.length === 0 && outputs === null) return await parts.driver.prepare(spec);
    // Where there is no disk to fill it is refused, also for outputs that are named: nothing could be read out of memory.
    return await parts.driver.prepare({ ...spec, fill: (room) => fillInputs(claim, parts.transfers, room) });
  } catch (error) {
    // What fitted when it was claimed may not fit any more: it goes back to the queue.
    if (error instanceof NoRoom) return refuse("start_failed", error.message);
    if (error instanceof SandboxUnavailable) return refuse("sandbox_unavailable", error.message);
    if (error instanceof InputMissing) return refuse("input_missing", error.message);
    log.error({ err: error }, "sandbox could not be prepared");
    return refuse("start_failed", error instanceof Error ? error.message : String(error));
  }
}

async function untilExit(
  claim: Claim,
  parts: AttemptParts,
  state: State,
  sandbox: Sandbox,
  log: Logger,
): Promise<Exit> {
  const timer = setTimeoutLong(() => {
    if (state.stopping) return;
    log.info({}, "timeout");
    endTree(state, "stop", requireDurationMs(claim.spec.grace));
    void reportUntilHeard(parts, claim, state, { event: "timeout" }, log);
  }, requireDurationMs(claim.spec.timeout));
  const exit = await sandbox.exited;
  timer.clear();
  if (state.graceTimer) clearTimeout(state.graceTimer);
  return exit;
}

/** Ends what the main process left behind, and says so when it cannot be killed. */
async function empty(claim: Claim, parts: AttemptParts, state: State, sandbox: Sandbox, log: Logger): Promise<void> {
  sandbox.kill();
  while (!(await sandbox.empty(emptyLimitMs))) {
    const message =
      "processes of this job cannot be killed: they wait in the kernel; the worker is degraded until they end";
    await reportUntilHeard(parts, claim, state, { event: "unkillable", message }, log);
    sandbox.kill();
  }
}

/** True when the report was accepted; false when the attempt is not ours any more. */
function reportUntilHeard(
  parts: AttemptParts,
  claim: Claim,
  state: State,
  event: AttemptEvent,
  log: Logger,
): Promise<boolean> {
  const heard = state.lastReport.then(() => repeatReport(parts, claim, state, event, log));
  state.lastReport = heard;
  return heard;
}

async function repeatReport(
  parts: AttemptParts,
  claim: Claim,
  state: State,
  event: AttemptEvent,
  log: Logger,
): Promise<boolean> {
  while (!state.dropped.signal.aborted) {
    try {
      await parts.report(claim, event);
      return true;
    } catch (error) {
      if (error instanceof ProblemError && error.problem.status < 500) {
        log.warn({ event: event.event, detail: error.message }, "report refused: the attempt is not ours any more");
        state.dropped.abort();
        state.sandbox?.kill();
        return false;
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
  return false;
}

function ended(
  exit: Exit,
  runtimeMs: number,
  usage: Usage,
  logs: { last_seq: number; bytes: number; truncated: boolean },
  outputs: Outputs,
): AttemptEvent {
  return {
    event: "ended",
    exit_code: exit.exitCode,
    signal: exit.signal,
    oom_killed: usage.oomKills > 0,
    runtime_ms: runtimeMs,
    usage: {
      cpu_ms: Math.round(usage.cpuMs),
      memory_peak_bytes: usage.memoryPeakBytes,
      io_read_bytes: usage.ioReadBytes,
      io_write_bytes: usage.ioWriteBytes,
      oom_kills: usage.oomKills,
      pids_peak: usage.pidsPeak,
      gpu_ms: 0,
      gpu_memory_peak_bytes: 0,
    },
    logs,
    ...outputs,
  };
}

function toSandboxSpec({ job_id, attempt, spec }: Claim, agentsDir: string | null): SandboxSpec {
  const { resources } = spec;
  const resident = spec.attach && toResident(spec.attach.agent, agentsDir);
  return {
    ...(resident && { resident }),
    id: `${job_id}-${attempt}`,
    command: spec.command,
    env: {
      PATH: "/usr/local/bin:/usr/bin:/bin",
      HOME: "/workspace",
      ...spec.env,
      AETHER_JOB_ID: job_id,
      AETHER_ATTEMPT: String(attempt),
      ...(resident && { AETHER_AGENT: resident.name, AETHER_SOCKET: "/run/aether/aetherd.sock" }),
    },
    workingDir: spec.working_dir,
    stdin: spec.stdin === null ? null : Buffer.from(spec.stdin, "utf8"),
    limits: {
      cpus: resources.cpus ?? limits.cpusUnknownWorker,
      memoryBytes: requireBytes(resources.memory ?? limits.memoryUnknownWorkerBytes),
      pids: resources.pids,
      diskBytes: requireBytes(resources.disk),
      readBps: resources.io.read_bps === null ? null : requireBytes(resources.io.read_bps),
      writeBps: resources.io.write_bps === null ? null : requireBytes(resources.io.write_bps),
    },
  };
}

/** A job that runs as an agent has its folder, and of all sockets the agent's. */
function toResident(name: string, agentsDir: string | null): Resident {
  if (agentsDir !== null) return { name, sockets: join(agentsDir, name) };
  const mend = "Run it where the gateway is: set AETHER_WORKER_AGENTS_DIR there.";
  throw new SandboxUnavailable([{ cause: "There are no sockets of agents on this host.", mend }]);
}

/** A timer beyond the 24.8 days that setTimeout can count. */
function setTimeoutLong(callback: () => void, ms: number): { clear(): void } {
  const most = 2 ** 31 - 1;
  let timer: NodeJS.Timeout;
  const arm = (left: number) => {
    timer = setTimeout(() => (left > most ? arm(left - most) : callback()), Math.min(left, most));
  };
  arm(ms);
  return { clear: () => clearTimeout(timer) };
}
