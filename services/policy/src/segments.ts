// Sealed segments: what has left, or may leave, the AUDIT stream. A segment is a file of records, one per line, and beside it a
// small file that says what it holds: its bounds, its checkpoint, and what a restart must know of the log up to its end. The
// second file is written last, so a segment that has one is whole.
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { LogState } from "./audit-state.ts";

const Seal = z.object({
  first_seq: z.int(),
  last_seq: z.int(),
  last_hash: z.string(),
  bytes: z.int().describe("Size of the file of records"),
  checkpoint: z.string(),
  /** Which stream the records came from, and the sequence of their last message in it. */
  stream: z.object({ created: z.string(), sequence: z.int() }),
  outcomes: z.object({ sequence: z.int(), open: z.record(z.string(), z.int()) }),
});
export type Seal = z.infer<typeof Seal>;

export interface Segment {
  /** The file of records. */
  file: string;
  seal: Seal;
}

/** The sealed segments of a folder, oldest first. */
export async function listSegments(folder: string): Promise<Segment[]> {
  const names = (await readdir(folder)).filter((name) => /^\d+-\d+\.seal\.json$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => ({
      file: join(folder, name.replace(".seal.json", ".jsonl")),
      seal: Seal.parse(JSON.parse(await readFile(join(folder, name), "utf8"))),
    })),
  );
}

/** The log's state at the end of a segment. */
export function toState({ seal }: Segment): LogState {
  const { sequence, open: unended } = seal.outcomes;
  return {
    end: { seq: seal.last_seq, hash: seal.last_hash },
    lastKind: null,
    outcomes: { sequence, open: new Map(Object.entries(unended)) },
  };
}

/** A folder for what is not finished, where two writers that overlap do not meet. */
export async function makeDraftsDir(folder: string): Promise<string> {
  const drafts = join(folder, "drafts");
  await mkdir(drafts, { recursive: true, mode: 0o750 });
  return drafts;
}

/** Removes what killed writers left unfinished. */
export async function dropDrafts(folder: string): Promise<void> {
  const drafts = join(folder, "drafts");
  const names = await readdir(drafts).catch(() => []);
  for (const name of names) await rm(join(drafts, name), { force: true });
}

/** Makes a finished file of records a segment; everything is synced when it resolves. */
export async function commitSegment(folder: string, recordsFile: string, seal: Seal): Promise<Segment> {
  const digits = (seq: number) => String(seq).padStart(12, "0");
  const name = `${digits(seal.first_seq)}-${digits(seal.last_seq)}`;
  const file = join(folder, `${name}.jsonl`);
  const draft = `${recordsFile}.seal`;
  {
    await using handle = await open(draft, "w", 0o640);
    await handle.writeFile(`${JSON.stringify(seal)}\n`);
    await handle.sync();
  }
  await rename(recordsFile, file);
  await rename(draft, join(folder, `${name}.seal.json`));
  await using directory = await open(folder, "r");
  await directory.sync();
  return { file, seal };
}
