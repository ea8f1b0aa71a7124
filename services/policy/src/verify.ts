// Holds the whole log against its own hashes and against every signed checkpoint: segments first, then the stream, then the
// notes of both places. A contradiction is `tampered`; what is only not there any more is `incomplete`.
import { readFile } from "node:fs/promises";
import { type Bus, streamState } from "@aether/bus";
import type { Reply, verifyAudit } from "@aether/contracts";
import { auditStream, readStream } from "./audit-stream.ts";
import { type Fault, parseLine, verifyChain } from "./chain.ts";
import { type Checkpoints, parseNotes } from "./checkpoints.ts";
import { type ChainEnd, chainStart } from "./record.ts";
import { listSegments, readLines, type Segment } from "./segments.ts";

type Report = Reply<typeof verifyAudit>;

const faultsMax = 100;
/** Half a note may be seen while it is written. */
const tornNoteMax = 400;
/** A checkpoint is due every thousand records; so many without one are suspicious. */
const uncheckedMax = 5000;

export interface VerifyOptions {
  bus: Bus;
  segmentsDir: string;
  checkpoints: Checkpoints;
}

interface Place {
  file: string;
  content: string | null;
  notes: ReturnType<typeof parseNotes>["notes"];
  rest: number;
}

/** What the walk over the records has found so far. */
interface Walk {
  first: number | null;
  end: ChainEnd;
  /** Hashes at the places that checkpoints and seals speak of. */
  hashes: Map<number, string>;
  spokenOf: Set<number>;
  tampered: Fault[];
  missing: Fault[];
}

/** Verifies everything that is stored at this moment. */
export async function verifyLog({ bus, segmentsDir, checkpoints }: VerifyOptions): Promise<Report> {
  const segments = await listSegments(segmentsDir);
  const places = await Promise.all(checkpoints.places.map(readPlace));
  const spokenOf = [...places.flatMap(({ notes }) => notes.map(({ end }) => end.seq)), ...segments.map(lastSeq)];
  const walk: Walk = {
    ...{ first: null, end: chainStart, hashes: new Map(), tampered: [], missing: [] },
    spokenOf: new Set(spokenOf),
  };
  for (const segment of segments) await walkSegment(walk, segment, checkpoints);
  await walkStream(walk, bus);
  for (const place of places) checkPlace(walk, place, checkpoints);
  comparePlaces(walk, places);
  const keyFault = await checkpoints.keyFault();
  if (keyFault) walk.tampered.push({ seq: null, fault: keyFault });
  const found = walk.first !== null;
  return {
    state: walk.tampered.length > 0 ? "tampered" : walk.missing.length > 0 ? "incomplete" : "intact",
    records: walk.first === null ? 0 : walk.end.seq - walk.first + 1,
    first_seq: walk.first,
    last_seq: found ? walk.end.seq : null,
    last_hash: found ? walk.end.hash : null,
    checkpoints: places.reduce((sum, { notes }) => sum + notes.length, 0),
    segments: segments.length,
    faults: [...walk.tampered, ...walk.missing].slice(0, faultsMax),
  };
}

const lastSeq = ({ seal }: Segment) => seal.last_seq;

async function walkSegment(walk: Walk, { file, seal }: Segment, checkpoints: Checkpoints): Promise<void> {
  const start = startAt(walk, seal.first_seq, null);
  const { fault, end } = await verifyChain(readLines(file), start, remember(walk)).catch((error: unknown) => ({
    fault: { seq: seal.first_seq, fault: `its segment cannot be read: ${error}` },
    end: start,
  }));
  if (fault) walk.tampered.push(fault);
  else if (end.seq !== seal.last_seq || end.hash !== seal.last_hash) {
    walk.tampered.push({ seq: end.seq, fault: "the segment does not end as its seal says" });
  }
  if (checkpoints.verify(seal.checkpoint)?.hash !== seal.last_hash) {
    walk.tampered.push({ seq: seal.last_seq, fault: "the segment's checkpoint is not one that this log's key signed" });
  }
  walk.end = { seq: seal.last_seq, hash: seal.last_hash };
}

/** The stream goes on from the segments; where both still hold a record they must agree, which their hashes tell. */
async function walkStream(walk: Walk, bus: Bus): Promise<void> {
  const { firstSequence, lastSequence } = await streamState(bus, auditStream);
  if (lastSequence === 0) return;
  const lines = streamLines(bus, firstSequence, lastSequence)[Symbol.asyncIterator]();
  const { value: first } = await lines.next();
  const record = parseLine(first ?? "");
  const start = startAt(walk, Number(record?.seq), String(record?.prev));
  const { fault, end } = await verifyChain(prepend(first ?? "", lines), start, remember(walk));
  if (fault) walk.tampered.push(fault);
  if (end.seq >= walk.end.seq) walk.end = end;
}

/** Where a source that begins with record `seq` must go on from; what lies between is noted as missing. */
function startAt(walk: Walk, seq: number, prev: string | null): ChainEnd {
  if (walk.first === null) walk.first = seq;
  const before = walk.end;
  if (seq === before.seq + 1) return before;
  if (seq > before.seq + 1) {
    walk.missing.push({ seq: before.seq + 1, fault: `records ${before.seq + 1} to ${seq - 1} are not there any more` });
  }
  return { seq: seq - 1, hash: prev ?? "" };
}

function remember(walk: Walk): (end: ChainEnd) => void {
  return ({ seq, hash }) => {
    if (!walk.spokenOf.has(seq)) return;
    const known = walk.hashes.get(seq);
    if (known && known !== hash) walk.tampered.push({ seq, fault: "the stream and a segment hold different records" });
    walk.hashes.set(seq, hash);
  };
}

async function* streamLines(bus: Bus, from: number, to: number): AsyncGenerator<string> {
  for await (const { data } of readStream(bus, from, to)) yield* new TextDecoder().decode(data).split("\n");
}

async function* prepend(first: string, rest: AsyncIterator<string>): AsyncGenerator<string> {
  yield first;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}

async function readPlace(file: string): Promise<Place> {
  const content = await readFile(file, "utf8").catch(() => null);
  return { file, content, ...parseNotes(content ?? "") };
}

function checkPlace(walk: Walk, { file, notes, rest }: Place, checkpoints: Checkpoints): void {
  if (rest > tornNoteMax) walk.tampered.push({ seq: null, fault: `${file} holds something that is not a checkpoint` });
  for (const { note, end } of notes) {
    const known = walk.hashes.get(end.seq);
    if (!checkpoints.verify(note)) {
      walk.tampered.push({ seq: end.seq, fault: `a checkpoint in ${file} is not signed by this log's key` });
    } else if (end.seq > walk.end.seq) {
      walk.tampered.push({
        seq: end.seq,
        fault: `the log ends at ${walk.end.seq}, a checkpoint says it went on to ${end.seq}`,
      });
    } else if (known && known !== end.hash) {
      walk.tampered.push({ seq: end.seq, fault: "the log was rewritten: a signed checkpoint has another hash" });
    }
  }
}

function comparePlaces(walk: Walk, places: readonly Place[]): void {
  const newest = Math.max(0, ...places.flatMap(({ notes }) => notes.map(({ end }) => end.seq)));
  for (const { file, notes } of places) {
    const last = notes.at(-1)?.end.seq ?? 0;
    const lacking = places.flatMap((place) => place.notes).filter(({ end }) => end.seq > last).length;
    if (lacking > 1) walk.missing.push({ seq: last, fault: `${file} lacks checkpoints that the other place has` });
  }
  if (walk.end.seq - newest > uncheckedMax) {
    walk.missing.push({ seq: newest, fault: `no checkpoint speaks of the records after ${newest}` });
  }
}
