// The exit code that a job's end has in a shell: its own; 128 and the signal's number; 124 when its time was up; 125 for
// every other end that is Aether's doing and not the job's.
import { constants } from "node:os";
import type { Job } from "@aether/contracts";

export const aetherFailed = 125;
const timedOut = 124;
/** Reasons that the state says already. */
const unsaid: ReadonlySet<string> = new Set(["requested", "timeout", "queue_timeout"]);

export interface JobEnd {
  readonly state: string;
  readonly exit_code: number | null;
  readonly signal?: string | null | undefined;
}

/** The exit code for the end of a job. */
export function exitCodeOfJob({ state, exit_code, signal }: JobEnd): number {
  if (state === "timed_out") return timedOut;
  if (exit_code !== null) return exit_code;
  const number = Object.entries(constants.signals).find(([name]) => name === signal)?.[1];
  return number === undefined ? aetherFailed : 128 + number;
}

/** `succeeded`, `failed (exit 3)`, `failed (SIGKILL)`, `failed (oom killed)`. */
export function stateOf({
  state,
  reason,
  exit_code,
  signal,
}: Pick<Job, "state" | "reason" | "exit_code" | "signal">): string {
  const words = state.replaceAll("_", " ");
  if (reason === "exit_nonzero") return `${words} (exit ${exit_code})`;
  if (reason === "signal") return `${words} (${signal})`;
  return reason === null || unsaid.has(reason) ? words : `${words} (${reason.replaceAll("_", " ")})`;
}

/** What a person should read about an end that the exit code alone does not tell; null where it does. */
export function describeEnd(
  job: Pick<Job, "state" | "reason" | "message" | "exit_code" | "signal" | "spec">,
): string | null {
  if (job.state === "succeeded" || job.reason === "exit_nonzero") return null;
  const words = job.reason === "timeout" ? `it ran longer than its timeout of ${job.spec.timeout}` : job.message;
  return words ? `${stateOf(job)}: ${words}` : stateOf(job);
}
