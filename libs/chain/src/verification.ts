// Holds a log against its own hashes and against every signed checkpoint: its sources one after the other, then the files of
// checkpoints. A contradiction is `tampered`; what is only not there any more is `incomplete`. It lets other work pass in
// between: a long log is read for seconds, by a process that has decisions to answer.
import { setImmediate } from "node:timers/promises";
import { type ChainEnd, chainStart, followLine, parseLine } from "./line.ts";
import { type NoteKey, parseNotes, verifyNote } from "./notes.ts";

const faultsMax = 100;
/** Half a note may be seen while it is written. */
const tornNoteMax = 400;
/** A checkpoint is due every thousand records; so many without one are suspicious. */
const uncheckedMax = 5000;
const linesAtOnce = 500;
const notesAtOnce = 50;

interface Fault {
  seq: number | null;
  fault: string;
}

export interface Report {
  state: "intact" | "tampered" | "incomplete";
  records: number;
  first_seq: number | null;
  last_seq: number | null;
  last_hash: string | null;
  checkpoints: number;
  faults: Fault[];
}

/** A file of checkpoints: what it is called, and what is in it. */
export interface CheckpointFile {
  name: string;
  content: string;
}

export interface Verification {
  /** Walks the next source, which goes on where the one before it ended. Answers where it ended. */
  walk(batches: AsyncIterable<readonly string[]>): Promise<ChainEnd>;
  /** Takes this for the end, whatever was found: what follows is then judged by itself. */
  resumeAt(end: ChainEnd): void;
  /** Notes a contradiction that the caller found. */
  tampered(seq: number | null, fault: string): void;
  /** Holds all of it against the checkpoints. */
  report(): Promise<Report>;
}

/** Begins to verify a log. A copy may end before the checkpoints do: it may only be older. */
export function startVerification(
  files: readonly CheckpointFile[],
  key: NoteKey,
  { isCopy = false }: { isCopy?: boolean } = {},
): Verification {
  const places = files.map(({ name, content }) => ({ name, ...parseNotes(content) }));
  const watched = new Set(places.flatMap(({ notes }) => notes.map(({ end }) => end.seq)));
  const hashes = new Map<number, string>();
  const [contradictions, missing]: [Fault[], Fault[]] = [[], []];
  const tampered = (seq: number | null, fault: string) => void contradictions.push({ seq, fault });
  let first: number | null = null;
  let newer = 0;
  let end = chainStart;

  /** Where a source that begins with this line must go on from; what lies between is noted as missing. */
  const startAt = (line: string): ChainEnd => {
    const record = parseLine(line);
    const seq = Number.isSafeInteger(record?.seq) ? Number(record?.seq) : end.seq + 1;
    first ??= seq;
    if (seq === end.seq + 1) return end;
    if (seq > end.seq + 1) {
      missing.push({ seq: end.seq + 1, fault: `records ${end.seq + 1} to ${seq - 1} are not there any more` });
    }
    return { seq: seq - 1, hash: String(record?.prev) };
  };
  const signed = new Set<string>();
  /** Both places hold the same notes, as a rule: each is verified once. */
  const isSigned = async (note: string) => {
    if (signed.has(note)) return true;
    if (signed.size % notesAtOnce === 0) await setImmediate();
    const verified = verifyNote(note, key) !== null;
    if (verified) signed.add(note);
    return verified;
  };
  const checkPlace = async ({ name, notes, rest }: (typeof places)[number]) => {
    if (rest > tornNoteMax) tampered(null, `${name} holds something that is not a checkpoint`);
    for (const { note, end: said } of notes) {
      const known = hashes.get(said.seq);
      if (!(await isSigned(note))) tampered(said.seq, `a checkpoint in ${name} is not signed by this log's key`);
      else if (said.seq > end.seq && isCopy) newer = Math.max(newer, said.seq);
      else if (said.seq > end.seq) {
        tampered(said.seq, `the log ends at ${end.seq}, a checkpoint in ${name} says it went on to ${said.seq}`);
      } else if (known && known !== said.hash) {
        tampered(said.seq, `the log was rewritten: a signed checkpoint in ${name} has another hash`);
      }
    }
  };
  const comparePlaces = () => {
    const newest = Math.max(0, ...places.map(({ notes }) => notes.at(-1)?.end.seq ?? 0));
    for (const { name, notes } of places) {
      const last = notes.at(-1)?.end.seq ?? 0;
      const lacking = places.flatMap((place) => place.notes).filter((note) => note.end.seq > last).length;
      if (lacking > 1) missing.push({ seq: last, fault: `${name} lacks checkpoints that the other place has` });
    }
    if (end.seq - newest > uncheckedMax) {
      missing.push({ seq: newest, fault: `no checkpoint speaks of the records after ${newest}` });
    }
  };

  return {
    tampered,
    resumeAt(said) {
      end = said;
    },
    async walk(batches) {
      let at: ChainEnd | null = null;
      let walked = 0;
      for await (const lines of batches) {
        for (const line of lines) {
          at ??= startAt(line);
          const next = followLine(line, at);
          if (typeof next === "string") {
            tampered(at.seq + 1, next);
            if (at.seq > end.seq) end = at;
            return at;
          }
          at = next;
          if (watched.has(at.seq)) hashes.set(at.seq, at.hash);
        }
        walked += lines.length;
        if (walked > linesAtOnce) {
          await setImmediate();
          walked = 0;
        }
      }
      if (at && at.seq >= end.seq) end = at;
      return at ?? end;
    },
    async report() {
      for (const place of places) await checkPlace(place);
      comparePlaces();
      if (newer > 0) {
        const cause = "it is older than the checkpoints, or its end was cut";
        missing.push({ seq: end.seq + 1, fault: `the copy ends at ${end.seq}, the log went on to ${newer}: ${cause}` });
      }
      const found = first !== null;
      return {
        state: contradictions.length > 0 ? "tampered" : missing.length > 0 ? "incomplete" : "intact",
        records: first === null ? 0 : end.seq - first + 1,
        first_seq: first,
        last_seq: found ? end.seq : null,
        last_hash: found ? end.hash : null,
        checkpoints: places.reduce((sum, { notes }) => sum + notes.length, 0),
        faults: [...contradictions, ...missing].slice(0, faultsMax),
      };
    },
  };
}
