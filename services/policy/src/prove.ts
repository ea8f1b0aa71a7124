// Where one record stands, and that it stands there rightly: it is read from where it is stored, and the chain is followed from
// it to the next place that a signed checkpoint speaks of. That checkpoint commits to everything before it, this record too.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { streamState } from "@aether/bus";
import { type ChainEnd, followLine, parseLine, parseNotes, readBatches } from "@aether/chain";
import { AuditRecord, type getAudit, type Reply } from "@aether/contracts";
import { auditStream } from "./audit-stream.ts";
import type { Checkpoints } from "./checkpoints.ts";
import { listSegments } from "./segments.ts";
import { streamLines, type VerifyOptions } from "./verify.ts";

/** The record at `seq`, whose message in the stream is `sequence`; null where it is stored nowhere. */
export async function proveRecord(
  { bus, segmentsDir, checkpoints }: VerifyOptions,
  { seq, sequence }: { seq: number; sequence: number | null },
): Promise<Reply<typeof getAudit> | null> {
  const segments = await listSegments(segmentsDir);
  const segment = segments.find(({ seal }) => seal.first_seq <= seq && seq <= seal.last_seq);
  const { lastSequence } = await streamState(bus, auditStream);
  const lines = segment ? readBatches(segment.file) : streamLines(bus, sequence ?? 1, lastSequence);
  const signed = await nextSigned(checkpoints, seq, segment ? [segment.seal.checkpoint] : []);
  const found = await follow(lines, seq, signed?.seq ?? Number.POSITIVE_INFINITY);
  if (!found) return null;
  const fault =
    found.fault ??
    (signed && found.end.hash !== signed.hash
      ? `the checkpoint that speaks of record ${signed.seq} has another hash than the chain from here has`
      : null);
  return {
    record: AuditRecord.parse(JSON.parse(found.line)),
    proof: {
      state: fault ? "broken" : signed ? "signed" : "chained",
      place: segment ? basename(segment.file) : "stream",
      checkpoint_seq: signed?.seq ?? null,
      fault,
    },
  };
}

/** The nearest place at or behind record `seq` that this log's key signed. */
async function nextSigned(checkpoints: Checkpoints, seq: number, more: readonly string[]): Promise<ChainEnd | null> {
  const files = await Promise.all(checkpoints.places.map((place) => readFile(place, "utf8").catch(() => "")));
  const notes = [...files, ...more].flatMap((text) => parseNotes(text).notes).filter(({ end }) => end.seq >= seq);
  for (const { note } of notes.toSorted((a, b) => a.end.seq - b.end.seq)) {
    const end = checkpoints.verify(note);
    if (end) return end;
  }
  return null;
}

/** Follows the chain from the record at `seq` to the one at `until`, or to the end; null where there is no such record. */
async function follow(
  batches: AsyncIterable<readonly string[]>,
  seq: number,
  until: number,
): Promise<{ line: string; end: ChainEnd; fault: string | null } | null> {
  let found: { line: string; end: ChainEnd; fault: string | null } | null = null;
  for await (const lines of batches) {
    for (const line of lines) {
      if (!found) {
        const record = parseLine(line);
        if (record?.seq !== seq) continue;
        found = { line, end: { seq: seq - 1, hash: String(record.prev) }, fault: null };
      }
      const next = followLine(line, found.end);
      if (typeof next === "string") return { ...found, fault: `record ${found.end.seq + 1}: ${next}` };
      found.end = next;
      if (next.seq >= until) return found;
    }
  }
  return found;
}
