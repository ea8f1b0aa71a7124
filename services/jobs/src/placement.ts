// Which queued jobs fit which free capacity and their owners' quotas: in the queue's order, each one that still fits. A job
// that does not fit is passed over, so a large one at the head does not hold up the small ones behind it, nor one owner another.
import type { Capacity } from "@aether/contracts";
import { fits, type Room, toMilli, without } from "./holding.ts";
import type { Candidate } from "./index-view.ts";

export type Free = Capacity;

/** Candidates in the given order that fit together, at most `max`; `roomOf` says what an owner's next jobs may need. */
export function pick(
  candidates: readonly Candidate[],
  free: Free,
  max: number,
  roomOf: (owner: string) => Room | null,
): Candidate[] {
  let { cpus, memory_bytes, slots } = free;
  let diskBytes = free.disk_bytes ?? Number.POSITIVE_INFINITY;
  const rooms = new Map<string, Room>();
  const chosen: Candidate[] = [];
  for (const candidate of candidates) {
    if (chosen.length >= max || slots < 1) break;
    if (candidate.cpus > cpus || candidate.memoryBytes > memory_bytes || candidate.diskBytes > diskBytes) continue;
    const need = { cpusMilli: toMilli(candidate.cpus), memoryBytes: candidate.memoryBytes };
    const room = rooms.get(candidate.owner) ?? roomOf(candidate.owner);
    if (!fits(need, room)) continue;
    if (room) rooms.set(candidate.owner, without(need, room));
    cpus -= candidate.cpus;
    memory_bytes -= candidate.memoryBytes;
    diskBytes -= candidate.diskBytes;
    slots--;
    chosen.push(candidate);
  }
  return chosen;
}
