// One fault under a small mixed load. The fault comes when jobs are queued, starting, running and stopping at once; jobs are
// submitted while it lasts; then every job must have ended as it should.
import { randomUUID } from "node:crypto";
import { isTerminal, type JobSpecInput, type JobState, type LogFrame } from "@aether/contracts";
import { waitFor } from "@aether/testkit";
import { expect } from "vitest";
import type { Aether, ProgramName } from "../_aether.ts";
import { jobFaults, type Witness } from "../_checker.ts";

export interface Fault {
  name: string;
  /** Makes it happen; resolves when it is over. */
  happen(aether: Aether, witness: Witness): Promise<void>;
  /** How long the runners need to live through it. */
  runnerSeconds: number;
  /** Whether running jobs go on as if nothing had been. */
  undisturbed: boolean;
}

type Target = ProgramName | "nats";

/** Killed, and started again at once by its supervisor. */
export function kill(targets: Target[], undisturbed = true): Fault {
  return {
    name: `${targets.join(" and ")} killed`,
    runnerSeconds: 3,
    undisturbed,
    async happen(aether) {
      await Promise.all(
        targets.map((target) => (target === "nats" ? aether.nats.restart() : aether.programs[target].kill())),
      );
    },
  };
}

/** Stopped for a while, as a process is that the machine has no time for. */
export function freeze(targets: Target[], forMs: number, undisturbed = true): Fault {
  return {
    name: `${targets.join(" and ")} frozen for ${forMs / 1000} s`,
    runnerSeconds: forMs / 1000 + 2,
    undisturbed,
    async happen(aether) {
      for (const target of targets)
        target === "nats" ? aether.nats.process.kill("SIGSTOP") : aether.programs[target].freeze();
      await passes(forMs);
      for (const target of targets)
        target === "nats" ? aether.nats.process.kill("SIGCONT") : aether.programs[target].thaw();
    },
  };
}

export async function passes(ms: number): Promise<void> {
  const end = performance.now() + ms;
  await waitFor(`${ms} ms to pass`, () => performance.now() >= end, ms + 1_000);
}

/** Lines that say which attempt wrote them, their number, and when on the boot clock. */
const line = `n=$((n+1)); read up rest < /proc/uptime; echo "l $AETHER_ATTEMPT $n $up"`;
const script = (text: string): string[] => ["sh", "-c", `n=0; ${text}`];
const lines = (count: number, pause = "") =>
  script(`while [ $n -lt ${count} ]; do ${line}; ${pause ? `sleep ${pause}` : ":"}; done`);
const small = { cpus: 0.25, memory: "64MiB", disk: "64MiB" };
const again = { max_attempts: 5, on: ["lost" as const], backoff: { initial: "100ms" } };

const specs = {
  short: { command: lines(20), resources: small },
  retried: { command: lines(20), resources: small, retry: again },
  stubborn: {
    command: script(
      `trap '' TERM INT HUP; (setsid sh -c 'trap "" TERM; while :; do sleep 0.5; done' >/dev/null 2>&1 &); while :; do ${line}; sleep 0.1; done`,
    ),
    resources: small,
    grace: "2s",
  },
  polite: { command: script(`trap 'exit 0' TERM; while :; do ${line}; sleep 0.1; done`), resources: small },
  timed: { command: lines(1e6, "0.1"), resources: small, timeout: "2s", grace: "500ms" },
  /** Needs the whole worker, so it waits until everything else is over. */
  big: { command: lines(3), resources: { ...small, cpus: 8 }, retry: again },
  nowhere: { command: ["true"], resources: small, pool: "nobody", queue_timeout: "2s" },
} satisfies Record<string, JobSpecInput>;

const runner = (seconds: number) => ({
  command: script(
    `[ $AETHER_ATTEMPT -gt 1 ] && m=5 || m=${Math.round(seconds * 10)}; while [ $n -lt $m ]; do ${line}; sleep 0.1; done`,
  ),
  resources: small,
});

type Role = keyof typeof specs | "runner" | "retriedRunner";

/** Runs one fault and checks every job of its round. */
export async function runRound(aether: Aether, witness: Witness, fault: Fault): Promise<void> {
  const before = new Set(witness.ids());
  const accepted = new Map<string, Role>();
  const submit = async (role: Role, spec: JobSpecInput) => {
    const id = await submitUntilAccepted(aether, spec);
    accepted.set(id, role);
    return id;
  };
  const start = (role: keyof typeof specs) => submit(role, specs[role]);
  const [plain, retried, stubborn, polite] = await Promise.all([
    submit("runner", runner(fault.runnerSeconds)),
    submit("retriedRunner", { ...runner(fault.runnerSeconds), retry: again }),
    start("stubborn"),
    start("polite"),
    start("timed"),
  ]);
  const followed = [plain, retried, stubborn];
  for (const id of [...followed, polite])
    await waitFor(`${id} to write`, () => witness.executing().includes(`${id}-1`));
  const live = new Map<string, Promise<LogFrame[]>>(followed.map((id) => [id, follow(aether, id)]));
  await Promise.all([start("big"), start("nowhere")]);
  await Promise.all([stubborn, polite].map((id) => aether.client.jobs.stop(id, { grace: "2s" })));

  const starting = witness.next("starting");
  const burst = [start("short"), start("retried"), start("short"), start("retried")];
  await starting;
  const states = new Set(witness.ids().map((id) => witness.job(id)?.state));
  expect([...states]).toEqual(expect.arrayContaining(["queued", "starting", "running", "stopping"]));
  const over = fault.happen(aether, witness);
  const during = submitDuring(over, () => start("retried"));
  await Promise.all([over, during, ...burst]);

  await waitFor("every job to be over", () => unfinished(witness, before), 45_000);
  await aether.ready();
  const faults = [...witness.faults];
  for (const id of witness.ids().filter((one) => !before.has(one))) {
    const frames = (await live.get(id)) ?? null;
    faults.push(...(await jobFaults(aether, witness, id, frames)).map((text) => `${id}: ${text}`));
  }
  for (const [id, role] of accepted) faults.push(...outcomeFaults(witness, id, role, fault));
  expect(faults, fault.name).toEqual([]);
}

/** True when there are none; else which, for whoever waited in vain. */
function unfinished(witness: Witness, before: Set<string>): true | null {
  const open = witness.ids().filter((id) => !before.has(id) && !isTerminal(witness.job(id)?.state ?? "queued"));
  if (open.length > 0) throw new Error(open.map((id) => `${id} ${witness.job(id)?.state}`).join(", "));
  return true;
}

function outcomeFaults(witness: Witness, id: string, role: Role, { undisturbed }: Fault): string[] {
  const expected: Record<Role, JobState[]> = {
    short: undisturbed ? ["succeeded"] : ["succeeded", "lost"],
    retried: ["succeeded"],
    runner: undisturbed ? ["succeeded"] : ["lost"],
    retriedRunner: ["succeeded"],
    stubborn: ["stopped"],
    polite: ["stopped"],
    timed: undisturbed ? ["timed_out"] : ["timed_out", "lost"],
    big: ["succeeded"],
    nowhere: ["expired"],
  };
  const job = witness.job(id);
  if (!job) return [`${id}: ${role} was accepted and is in no record`];
  const faults: string[] = [];
  if (!expected[role].includes(job.state)) faults.push(`${id}: ${role} ended ${job.state}: ${job.message}`);
  if (role === "retriedRunner" && (job.attempts.length === 1) !== undisturbed)
    faults.push(`${id}: ${role} needed ${job.attempts.length} attempts`);
  return faults;
}

async function follow(aether: Aether, id: string): Promise<LogFrame[]> {
  const frames: LogFrame[] = [];
  for await (const frame of aether.client.jobs.logs(id, { follow: true, resumeForMs: 120_000 })) frames.push(frame);
  return frames;
}

/** Submits one after the other for as long as the fault lasts. */
async function submitDuring(over: Promise<void>, submit: () => Promise<string>): Promise<void> {
  const state = { over: false };
  void over.finally(() => {
    state.over = true;
  });
  do {
    await submit();
    await passes(300);
  } while (!state.over);
}

/** The same Idempotency-Key until it is accepted: whatever died in between, it is one job. */
async function submitUntilAccepted(aether: Aether, spec: JobSpecInput): Promise<string> {
  const idempotencyKey = randomUUID();
  const job = await waitFor(
    "a submit to be accepted",
    () => aether.client.jobs.submit(spec, { idempotencyKey, signal: AbortSignal.timeout(3_000) }),
    60_000,
  );
  return job.id;
}
