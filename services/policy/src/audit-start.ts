// What the log holds when a writer begins, and the records it begins with: `writer.start`, and a `gap` where the writer before
// it did not end. They are appended where the log ends, so of two that begin at once, or of one that begins beside one that
// writes, each time one is refused; it reads on and tries again. Who writes last has the log, and the other finds out.
import { type Bus, isWrongSequence, streamState } from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import { applyRecord, emptyState, type LogState, parseRecords } from "./audit-state.ts";
import { auditStream, auditSubject, readStream, storedBytes } from "./audit-stream.ts";
import { createDraft, type Draft, place, policyActor, prepare } from "./record.ts";
import { listSegments, toState } from "./segments.ts";
import { hasRoom, type Space } from "./space.ts";

const takeOverMs = 10_000;
const publishTimeoutMs = 2_000;

export interface Stored {
  state: LogState;
  /** Sequence of the stream's last message. */
  sequence: number;
  unsealedBytes: number;
  sealed: { state: LogState; sequence: number };
}

/** Reads what the log holds: the newest segment's seal, and every message behind it. */
export async function readStored(bus: Bus, segmentsDir: string): Promise<Stored> {
  const newest = (await listSegments(segmentsDir)).at(-1);
  const stream = await streamState(bus, auditStream);
  const sealed = {
    state: newest ? toState(newest) : emptyState(),
    sequence: newest?.seal.stream.created === stream.created ? newest.seal.stream.sequence : 0,
  };
  const state = structuredClone(sealed.state);
  let unsealedBytes = 0;
  const from = Math.max(sealed.sequence + 1, stream.firstSequence);
  for await (const message of readStream(bus, from, stream.lastSequence)) {
    const records = parseRecords(message.data);
    if (records.some(({ seq }) => seq > sealed.state.end.seq)) unsealedBytes += storedBytes(message.data.length);
    else sealed.sequence = message.sequence;
    for (const record of records) applyRecord(state, record);
  }
  return { state, sequence: stream.lastSequence, unsealedBytes, sealed };
}

/** Appends the first records; `stored` and `space` are then as the log is. `signedSeq`: how far it went on, says a checkpoint. */
export async function beginLog(bus: Bus, stored: Stored, space: Space, signedSeq: number): Promise<void> {
  const giveUpAt = performance.now() + takeOverMs;
  for (;;) {
    const lines: string[] = [];
    let { end } = stored.state;
    for (const draft of beginning(stored.state, stored.sequence, signedSeq)) {
      const placed = place(prepare(draft), end);
      lines.push(placed.line);
      end = placed.end;
    }
    const data = new TextEncoder().encode(lines.join("\n"));
    if (!hasRoom(space, storedBytes(data.length), true)) {
      throw new ProblemError("audit-unavailable", { detail: "the audit store is full" });
    }
    try {
      const expect = { lastSequence: stored.sequence };
      await bus.js.publish(auditSubject, data, { expect, timeout: publishTimeoutMs });
      stored.state.end = end;
      stored.sequence++;
      space.unsealedBytes += storedBytes(data.length);
      return;
    } catch (error) {
      // Whatever else came of it, the next start reads.
      if (!isWrongSequence(error) || performance.now() > giveUpAt) throw error;
      await readOn(bus, stored, space);
    }
  }
}

/** Takes in what another writer appended meanwhile. */
async function readOn(bus: Bus, stored: Stored, space: Space): Promise<void> {
  const { lastSequence } = await streamState(bus, auditStream);
  for await (const message of readStream(bus, stored.sequence + 1, lastSequence)) {
    for (const record of parseRecords(message.data)) applyRecord(stored.state, record);
    space.unsealedBytes += storedBytes(message.data.length);
    stored.sequence = message.sequence;
  }
}

/** What a checkpoint that speaks of more than is stored says of the store. */
export function lostRecords(storedSeq: number, signedSeq: number): string {
  return `a signed checkpoint says that the log went on to record ${signedSeq}, and it ended at ${storedSeq}: it was cut, or lost by its store`;
}

function beginning({ end, lastKind }: LogState, sequence: number, signedSeq: number): Draft[] {
  const clean = end.seq === 0 || lastKind === "writer.stop";
  const provenance = { request_id: null, digest: null, source: { stream: auditStream, sequence } };
  const about = { actor: policyActor, provenance };
  const start = createDraft({
    ...{ ...about, kind: "writer.start", action: "audit.start" },
    note: end.seq === 0 ? "the first record" : `goes on from record ${end.seq}, whose hash is ${end.hash}`,
  });
  const gap = (note: string) => createDraft({ ...about, kind: "gap", action: "audit.gap", note });
  const gaps = [
    clean
      ? []
      : gap("the writer before did not end: status reads and repeated denials of its last second may not be recorded"),
    signedSeq > end.seq ? gap(lostRecords(end.seq, signedSeq)) : [],
  ];
  return [start, ...gaps.flat()];
}
