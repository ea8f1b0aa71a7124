// What a principal holds, and whether there is room for more: pure. A record of holders says of each job that has not ended
// what it needs and how far it is, as one number that only grows: 2n before attempt n + 1, 2n − 1 while attempt n runs. So a
// change that comes late is seen to be late.
import { isTerminal, type JobSpec, type QuotaLimits, type QuotaName, requireBytes } from "@aether/contracts";
import { z } from "zod";
import type { StoredJob } from "./job.ts";

/** Of one job: how far it is, cores in thousandths, bytes of memory. */
const Place = z.tuple([z.int(), z.int(), z.int()]);
export type Place = z.infer<typeof Place>;

/** Everything that a principal holds: the value of its key in KV `holders`. */
export const Holders = z.object({ owner: z.string(), jobs: z.record(z.string(), Place) });
export type Holders = z.infer<typeof Holders>;

export interface Usage {
  jobs: number;
  running: number;
  /** Of those that run. */
  cpusMilli: number;
  memoryBytes: number;
}

/** What the next jobs to start may need together; nothing of it below zero. */
export interface Room {
  jobs: number;
  cpusMilli: number;
  memoryBytes: number;
}

/** A quota that has no room, in words. */
export interface Refusal {
  quota: QuotaName;
  detail: string;
}

/** The place of a job as its record says; null once it has ended. */
export function placeOf(job: StoredJob): Place | null {
  if (isTerminal(job.state)) return null;
  const isTaken = job.state === "starting" || job.state === "running" || job.state === "stopping";
  return [2 * job.attempt - (isTaken ? 1 : 0), ...needOf(job.spec)];
}

/** The place that a queued job has while its next attempt runs. */
export function nextPlace(job: StoredJob): Place {
  return [2 * job.attempt + 1, ...needOf(job.spec)];
}

export const isRunning = ([step]: Place): boolean => step % 2 === 1;

export const nothing: Usage = { jobs: 0, running: 0, cpusMilli: 0, memoryBytes: 0 };

export function usageOf(holders: Holders | null): Usage {
  const usage = { ...nothing };
  for (const place of Object.values(holders?.jobs ?? {})) count(usage, place, 1);
  return usage;
}

/** Adds a place to what is used, or takes it off. */
export function count(usage: Usage, place: Place, sign: 1 | -1): void {
  usage.jobs += sign;
  if (!isRunning(place)) return;
  usage.running += sign;
  usage.cpusMilli += sign * place[1];
  usage.memoryBytes += sign * place[2];
}

/** Why one more job that has not ended cannot be had; null where it can. */
export function refuseJob([, cpusMilli, memoryBytes]: Place, usage: Usage, limits: QuotaLimits): Refusal | null {
  if (usage.jobs >= limits.jobs)
    return {
      quota: "jobs",
      detail: `${limits.jobs} jobs that have not ended are allowed, and there are ${usage.jobs}`,
    };
  if (limits.running_jobs === 0) return { quota: "running_jobs", detail: "no job is allowed to run" };
  if (limits.cpus !== null && cpusMilli > toMilli(limits.cpus))
    return { quota: "cpus", detail: `${limits.cpus} cpus are allowed at once, and it asks for ${cpusMilli / 1000}` };
  if (limits.memory_bytes !== null && memoryBytes > limits.memory_bytes)
    return {
      quota: "memory_bytes",
      detail: `${limits.memory_bytes} bytes of memory are allowed at once, and it asks for ${memoryBytes}`,
    };
  return null;
}

/** The room for jobs to start; null where nothing limits it. */
export function roomOf(usage: Usage, limits: QuotaLimits): Room | null {
  const { running_jobs, cpus, memory_bytes } = limits;
  if (running_jobs === null && cpus === null && memory_bytes === null) return null;
  const left = (limit: number | null, used: number) => Math.max(0, (limit ?? Number.MAX_SAFE_INTEGER) - used);
  return {
    jobs: left(running_jobs, usage.running),
    cpusMilli: left(cpus === null ? null : toMilli(cpus), usage.cpusMilli),
    memoryBytes: left(memory_bytes, usage.memoryBytes),
  };
}

export type Need = Omit<Room, "jobs">;

/** Whether a job that needs so much may start in that room. */
export function fits({ cpusMilli, memoryBytes }: Need, room: Room | null): boolean {
  return room === null || (room.jobs >= 1 && cpusMilli <= room.cpusMilli && memoryBytes <= room.memoryBytes);
}

/** The room that is left beside such a job. */
export function without({ cpusMilli, memoryBytes }: Need, room: Room): Room {
  return {
    jobs: room.jobs - 1,
    cpusMilli: room.cpusMilli - cpusMilli,
    memoryBytes: room.memoryBytes - memoryBytes,
  };
}

export const toMilli = (cpus: number): number => Math.round(cpus * 1000);

function needOf({ resources }: JobSpec): [cpusMilli: number, memoryBytes: number] {
  return [toMilli(resources.cpus ?? 0), requireBytes(resources.memory ?? 0)];
}
