// What must hold of every job, whatever died meanwhile, and who sees it: a witness that follows every job record as it is
// stored, and looks at the host itself to see which attempts execute. The services are not asked what they believe.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { startTail } from "@aether/bus";
import { type CloudEvent, isTerminal, type JobState, type LogFrame } from "@aether/contracts";
import { groupPath } from "@aether/sandbox";
import type { Aether } from "./_aether.ts";

interface Transition {
  from: JobState | null;
  to: JobState;
  reason: string | null;
  attempt: number;
  after: number;
}

/** The part of a stored job record that is looked at. */
export interface SeenJob {
  id: string;
  state: JobState;
  reason: string | null;
  message: string | null;
  attempt: number;
  exit_code: number | null;
  logs: { last_seq: number };
  attempts: { attempt: number; started_at: string; ended_at: string | null; reason: string | null }[];
  transitions: Transition[];
}

export interface Witness extends AsyncDisposable {
  job(id: string): SeenJob | undefined;
  ids(): string[];
  /** Resolves at the next record in that state, the moment it is seen. */
  next(state: JobState): Promise<string>;
  /** Attempts, as `<job>-<attempt>`, of which the command itself executes right now. */
  executing(): string[];
  /** Whether an attempt was ever seen to execute. */
  hasExecuted(id: string, attempt: number): boolean;
  /** What was seen that must never be. */
  readonly faults: string[];
}

/** Who may follow whom, after docs/jobs.md; a job with attempts left goes back to `queued`. */
const legal: Readonly<Record<JobState | "none", readonly JobState[]>> = {
  none: ["queued", "awaiting_approval"],
  queued: ["starting", "awaiting_approval", "denied", "expired", "stopped", "killed"],
  starting: ["running", "failed", "queued", "stopping"],
  running: ["succeeded", "failed", "stopping", "lost", "queued"],
  stopping: ["stopping", "stopped", "killed", "timed_out", "queued"],
  blocked: [],
  awaiting_approval: ["queued", "denied", "expired", "stopped", "killed"],
  succeeded: [],
  failed: [],
  stopped: [],
  killed: [],
  timed_out: [],
  lost: [],
  expired: [],
  denied: [],
};
const lookEveryMs = 40;

/** Starts watching the records and the host. */
export async function openWitness(aether: Aether): Promise<Witness> {
  await using stack = new AsyncDisposableStack();
  const bus = stack.use(await aether.connect("policy"));
  const jobs = new Map<string, SeenJob>();
  const faults = new Set<string>();
  const executed = new Set<string>();
  const waiting: { state: JobState; resolve(id: string): void }[] = [];
  stack.use(
    startTail(bus, {
      stream: "KV_jobs",
      subject: "$KV.jobs.>",
      from: 1,
      onMessages(messages) {
        for (const { data } of messages) {
          if (!data) continue;
          const job = JSON.parse(new TextDecoder().decode(data)) as SeenJob;
          for (const fault of recordFaults(jobs.get(job.id), job)) faults.add(`${job.id}: ${fault}`);
          jobs.set(job.id, job);
          for (const one of waiting.filter(({ state }) => state === job.state)) {
            waiting.splice(waiting.indexOf(one), 1);
            one.resolve(job.id);
          }
        }
      },
    }),
  );
  const folders = [aether.instance, aether.secondInstance].map((instance) =>
    dirname(groupPath({ instance, incarnation: "any" })),
  );
  const executing = () => folders.flatMap(listExecuting);
  const look = () => {
    const attempts = executing();
    for (const attempt of attempts) executed.add(attempt);
    const byJob = Map.groupBy(attempts, (attempt) => attempt.slice(0, attempt.lastIndexOf("-")));
    for (const [id, several] of byJob) if (several.length > 1) faults.add(`${id}: ${several.join(" and ")} at once`);
  };
  const timer = setInterval(look, lookEveryMs);
  stack.defer(() => clearInterval(timer));
  const running = stack.move();
  return {
    job: (id) => jobs.get(id),
    ids: () => [...jobs.keys()],
    next: (state) => new Promise((resolve) => waiting.push({ state, resolve })),
    executing,
    hasExecuted: (id, attempt) => executed.has(`${id}-${attempt}`),
    get faults() {
      return [...faults];
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** What is wrong with a record, by itself and after the one before it. */
function recordFaults(before: SeenJob | undefined, job: SeenJob): string[] {
  const faults: string[] = [];
  let state: JobState | null = null;
  let after = -1;
  for (const transition of job.transitions) {
    const { from, to } = transition;
    if (from !== state) faults.push(`a transition from ${from} stands after ${state}`);
    if (!legal[from ?? "none"].includes(to)) faults.push(`${from} → ${to} is no legal transition`);
    if (transition.after <= after) faults.push(`${from} → ${to} was written after an older revision`);
    state = to;
    after = transition.after;
  }
  if (job.state !== state) faults.push(`says ${job.state} after a transition to ${state}`);
  const kept = JSON.stringify(job.transitions.slice(0, before?.transitions.length ?? 0));
  if (before && kept !== JSON.stringify(before.transitions)) faults.push("its history was rewritten");
  return faults;
}

/** A sandbox executes its command once something other than bwrap runs in its group. */
function listExecuting(folder: string): string[] {
  return listIfThere(folder).flatMap((incarnation) =>
    listIfThere(join(folder, incarnation)).filter(
      (name) =>
        name.startsWith("job_") &&
        readIfThere(join(folder, incarnation, name, "cgroup.procs"))
          .split("\n")
          .some((pid) => pid !== "" && !["", "bwrap"].includes(programOf(pid))),
    ),
  );
}

function programOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`).split("/").at(-1) ?? "";
  } catch {
    return ""; // it ended, or is ending
  }
}

/** Everything wrong with a job that should be over; `live` are the frames that a follower was given during the faults. */
export async function jobFaults(
  aether: Aether,
  witness: Witness,
  id: string,
  live: LogFrame[] | null = null,
): Promise<string[]> {
  const job = witness.job(id);
  if (!job) return ["it is in no record"];
  if (!isTerminal(job.state)) return [`it is still ${job.state}`];
  const frames = await readFrames(aether, id);
  const events = await readEvents(aether, id);
  const faults = [
    ...attemptFaults(job, witness),
    ...frameFaults(job, frames),
    ...lineFaults(job, frames),
    ...eventFaults(job, events),
  ];
  if (live && JSON.stringify(live) !== JSON.stringify(frames))
    faults.push(`its follower was given ${live.length} other frames than the ${frames.length} that are kept`);
  return faults;
}

/** The frames of a log up to its `eof`. */
export async function readFrames(aether: Aether, id: string): Promise<LogFrame[]> {
  const frames: LogFrame[] = [];
  for await (const frame of aether.client.jobs.logs(id, { follow: true })) frames.push(frame);
  return frames;
}

async function readEvents(aether: Aether, id: string): Promise<CloudEvent[]> {
  const events: CloudEvent[] = [];
  for await (const batch of aether.client.events.read({ job_id: id, source: "/system/jobs" })) events.push(...batch);
  return events;
}

/** Each transition has its event, in order and once: an event's id names the revision that the next transition came after. */
function eventFaults({ transitions }: SeenJob, events: CloudEvent[]): string[] {
  const states = transitions.map(({ to }) => to).join(" ");
  const told = events.map(({ data }) => Object(data).state).join(" ");
  if (states !== told) return [`its record went ${states}, its events say ${told}`];
  const revisions = transitions.slice(1).map(({ after }) => `KV_jobs:${after}`);
  return revisions.every((id, index) => events[index]?.id === id)
    ? []
    : ["its events name other revisions than its record"];
}

function attemptFaults(job: SeenJob, witness: Witness): string[] {
  const faults: string[] = [];
  for (const [index, { attempt, ended_at }] of job.attempts.entries()) {
    const next = job.attempts[index + 1];
    if (!ended_at) faults.push(`attempt ${attempt} has no end`);
    else if (next && next.started_at < ended_at) faults.push(`attempt ${next.attempt} began before ${attempt} ended`);
  }
  const released = new Set(job.attempts.map(({ attempt }) => attempt));
  for (let attempt = 1; attempt <= job.attempt; attempt++) {
    if (!released.has(attempt) && witness.hasExecuted(job.id, attempt))
      faults.push(`attempt ${attempt} executed without having been released`);
  }
  return faults;
}

function frameFaults(job: SeenJob, frames: LogFrame[]): string[] {
  const faults: string[] = [];
  const eof = frames.at(-1);
  let seq = 0;
  for (const frame of frames.slice(0, -1)) {
    if (!("seq" in frame)) faults.push(`a ${frame.type} frame stands in its log`);
    else if (frame.seq !== ++seq) faults.push(`frame ${frame.seq} stands where ${seq} belongs`);
  }
  if (!eof || !("type" in eof) || eof.type !== "eof") return [...faults, "its log has no eof"];
  if (eof.last_seq !== seq || job.logs.last_seq !== seq)
    faults.push(`its log ends at ${seq}, its eof says ${eof.last_seq}, its record ${job.logs.last_seq}`);
  if (eof.state !== job.state || eof.exit_code !== job.exit_code) faults.push("its eof is not what its record says");
  return faults;
}

/** Lines say `l <attempt> <number> <boot clock>`: numbered without a gap, never of two attempts at one time. */
function lineFaults(job: SeenJob, frames: LogFrame[]): string[] {
  const faults: string[] = [];
  let [lastAttempt, lastNumber, lastAt] = [0, 0, 0];
  const cutAfter = new Set<number>();
  for (const frame of frames) {
    if ("type" in frame) {
      if (frame.type === "truncated") cutAfter.add(lastAttempt);
      continue;
    }
    const [, attempt = 0, number = 0, at = 0] = frame.data.split(" ").map(Number);
    if (attempt !== frame.attempt) faults.push(`a line of attempt ${attempt} is filed under ${frame.attempt}`);
    if (attempt !== lastAttempt) lastNumber = 0;
    if (attempt < lastAttempt || number !== lastNumber + 1)
      faults.push(`line ${attempt}/${number} stands after ${lastAttempt}/${lastNumber}`);
    if (at < lastAt) faults.push(`line ${attempt}/${number} was written before the one above it`);
    [lastAttempt, lastNumber, lastAt] = [attempt, number, at];
  }
  const lined = new Set(frames.flatMap((frame) => ("attempt" in frame ? frame.attempt : [])));
  for (const { attempt, reason } of job.attempts) {
    if (lined.has(attempt) && (reason === "worker_lost" || reason === "lease_expired") && !cutAfter.has(attempt))
      faults.push(`attempt ${attempt} was lost and nothing says so in its log`);
  }
  for (const attempt of lined)
    if (!job.attempts.some((one) => one.attempt === attempt)) faults.push(`attempt ${attempt} wrote and never ran`);
  return faults;
}

/** What of an instance is left on the host: processes, groups, mounts, loop devices, folders. */
export function leftovers({ home, instance, secondInstance }: Aether): string[] {
  return [...leftoversOf(instance, home), ...leftoversOf(secondInstance, home)];
}

function leftoversOf(instance: string, home: string): string[] {
  const top = "/sys/fs/cgroup";
  const groups = ["", ...listIfThere(top)]
    .map((hierarchy) => join(top, hierarchy, `aether-${instance}`))
    .filter((path) => listIfThere(path).length > 0);
  const processes = listIfThere("/proc")
    .filter((name) => /^\d+$/.test(name) && readIfThere(`/proc/${name}/cgroup`).includes(`/aether-${instance}/`))
    .map((pid) => `process ${pid}`);
  const mounts = readIfThere("/proc/self/mountinfo")
    .split("\n")
    .filter((line) => line.includes(`/${instance}/`) || line.includes(` ${home}/`));
  const loops = listIfThere("/sys/block")
    .map((name) => readIfThere(`/sys/block/${name}/loop/backing_file`).trim())
    .filter((file) => file.startsWith(home));
  const folders = listIfThere("/run/aether-sandbox").filter((name) => name === instance);
  const images = ["jobs", "jobs2"].flatMap((name) => listIfThere(join(home, name, "disks")));
  return [...groups, ...processes, ...mounts, ...loops, ...folders, ...images];
}

function listIfThere(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return []; // what is not there holds nothing
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // as above
  }
}
