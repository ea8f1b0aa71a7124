// Which queued jobs fit into which free capacity: in the queue's order, each one that still fits. A job that does not fit is
// passed over, so a large one at the head does not hold up the small ones behind it.
import type { Capacity } from "@aether/contracts";
import type { Candidate } from "./index-view.ts";

export type Free = Capacity;

/** Candidates in the given order that fit together, at most `max`. */
export function pick(candidates: readonly Candidate[], free: Free, max: number): Candidate[] {
  let { cpus, memory_bytes, slots } = free;
  let diskBytes = free.disk_bytes ?? Number.POSITIVE_INFINITY;
  const chosen: Candidate[] = [];
  for (const candidate of candidates) {
    if (chosen.length >= max || slots < 1) break;
    if (candidate.cpus > cpus || candidate.memoryBytes > memory_bytes || candidate.diskBytes > diskBytes) continue;
    cpus -= candidate.cpus;
    memory_bytes -= candidate.memoryBytes;
    diskBytes -= candidate.diskBytes;
    slots--;
    chosen.push(candidate);
  }
  return chosen;
}
