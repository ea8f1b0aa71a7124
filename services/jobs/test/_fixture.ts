// The jobs service on a real nats-server, a policy that answers as the test says, and a worker that only counts: it speaks
// the worker's operations without running anything.
import { type Bus, handler, request, serve } from "@aether/bus";
import {
  type AttemptEvent,
  appendLog,
  type Claim,
  claimJobs,
  createId,
  type DecideReply,
  type DecideRequest,
  decide,
  type LogBatch,
  type Operation,
  type Principal,
  type Reply,
  renewWorker,
  reportAttempt,
} from "@aether/contracts";
import { captureLog, startNats, type TestNats, tempDir } from "@aether/testkit";
import type { z } from "zod";
import { JobsConfig, startJobs } from "../src/index.ts";

export const allow: DecideReply = {
  outcome: "allow",
  decision_id: null,
  reason: "test",
  policies: ["test"],
  policy_version: "v1",
  approval_id: null,
  visible: true,
  scope: "own",
};

/** Whether it is the start itself that is decided, and not whether it would be allowed. */
export function isStart({ action, ask }: DecideRequest): boolean {
  return action === "start_job" && ask?.mode === "consume";
}

export interface Fixture extends AsyncDisposable {
  nats: TestNats;
  gateway: Bus;
  policy: { bus: Bus; answer(request: DecideRequest): DecideReply | Promise<DecideReply>; asked: DecideRequest[] };
  startJobs(): Promise<AsyncDisposable>;
  call<In extends z.ZodType, Out extends z.ZodType>(
    operation: Operation<In, Out>,
    input: z.input<In>,
    as?: { uid?: string; principal?: Principal; idempotencyKey?: string },
  ): Promise<z.infer<Out>>;
  worker(host: string): Promise<CountingWorker>;
}

export async function startFixture(environment: Record<string, string> = {}): Promise<Fixture> {
  const stack = new AsyncDisposableStack();
  const nats = stack.use(await startNats());
  const folder = stack.use(tempDir());
  const gateway = stack.use(await nats.connect("gateway"));
  const policyBus = stack.use(await nats.connect("policy"));
  const policy: Fixture["policy"] = { bus: policyBus, answer: () => allow, asked: [] };
  stack.use(
    await serve(policyBus, {
      service: "policy",
      version: "0",
      description: "answers as the test says",
      handlers: [
        handler(decide, {
          handle: async (asked) => {
            policy.asked.push(asked);
            return policy.answer(asked);
          },
        }),
      ],
    }),
  );
  let instances = 0;
  return {
    nats,
    gateway,
    policy,
    async startJobs() {
      const config = JobsConfig.parse({
        AETHER_NATS_URL: nats.url,
        AETHER_JOBS_SEED_FILE: `${nats.keysDir}/jobs.nk`,
        AETHER_JOBS_VIEW_FILE: `${folder.path}/jobs-${instances++}.db`,
        AETHER_JOBS_RECONCILE_MS: "100",
        ...environment,
      });
      return stack.use(await startJobs(config, captureLog()));
    },
    async call(operation, input, as = {}) {
      const principal = as.principal ?? { type: "User", id: as.uid ?? "1000", roles: ["member"] };
      const envelope = {
        principal,
        request_id: createId("req"),
        ...(as.idempotencyKey ? { idempotency_key: as.idempotencyKey } : {}),
      };
      return (await request(gateway, operation, input, { envelope })).reply;
    },
    async worker(host) {
      return createWorker(stack.use(await nats.connect(`worker-${host}`)));
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

export interface CountingWorker {
  bus: Bus;
  incarnation: string;
  renew(
    held?: { job_id: string; attempt: number; stopping: "stop" | "kill" | null }[],
    options?: { waitMs?: number; leaving?: boolean },
  ): Promise<Reply<typeof renewWorker>["orders"]>;
  claim(options?: { waitMs?: number; max?: number; cpus?: number }): Promise<Claim[]>;
  report(claim: Claim, report: AttemptEvent): Promise<string>;
  log(claim: Claim, firstSeq: number, lines: string[]): Promise<number>;
}

function createWorker(bus: Bus): CountingWorker {
  const incarnation = createId("wrk");
  const envelope = () => ({ envelope: { request_id: createId("req") } });
  const capacity = { cpus: 4, memory_bytes: 8 * 1024 ** 3, disk_bytes: 64 * 1024 ** 3, slots: 16 };
  let beat = 0;
  return {
    bus,
    incarnation,
    async renew(held = [], options = {}) {
      const input = {
        incarnation,
        beat: ++beat,
        capacity,
        pools: ["default"],
        drivers: ["bubblewrap"],
        degraded: null,
        leaving: options.leaving ?? false,
        held,
        wait_ms: options.waitMs ?? 0,
      };
      return (await request(bus, renewWorker, input, envelope())).reply.orders;
    },
    async claim(options = {}) {
      const free = { ...capacity, cpus: options.cpus ?? capacity.cpus };
      const input = {
        incarnation,
        pools: ["default"],
        drivers: ["bubblewrap"],
        free,
        max: options.max ?? 1,
        wait_ms: options.waitMs ?? 5_000,
      };
      return (await request(bus, claimJobs, input, envelope())).reply.claims;
    },
    async report({ job_id, attempt, secret }, report) {
      return (await request(bus, reportAttempt, { incarnation, job_id, attempt, secret, report }, envelope())).reply
        .state;
    },
    async log({ job_id, attempt, secret }, firstSeq, lines) {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      const batch: LogBatch = {
        attempt,
        first_seq: firstSeq,
        last_seq: firstSeq + lines.length - 1,
        segments: [{ t: Date.now(), s: 1, n: lines.length, b: bytes.length }],
      };
      return (await request(bus, appendLog, { job_id, attempt, secret, batch }, { ...envelope(), bytes })).reply
        .last_seq;
    },
  };
}

export const running: AttemptEvent = {
  event: "running",
  driver: "bubblewrap",
  enforced: { memory: "none", cpus: "none", pids: "none", disk: "none", io: "none" },
};

export function ended(
  exitCode: number | null,
  lastSeq = 0,
  more: { signal?: string; oom?: boolean } = {},
): AttemptEvent {
  return {
    event: "ended",
    exit_code: exitCode,
    signal: more.signal ?? null,
    oom_killed: more.oom ?? false,
    runtime_ms: 5,
    usage: {
      cpu_ms: 1,
      memory_peak_bytes: 1,
      io_read_bytes: 0,
      io_write_bytes: 0,
      oom_kills: more.oom ? 1 : 0,
      pids_peak: 1,
      gpu_ms: 0,
      gpu_memory_peak_bytes: 0,
    },
    logs: { last_seq: lastSeq, bytes: 0, truncated: false },
    artifacts: [],
    outputs: null,
  };
}
