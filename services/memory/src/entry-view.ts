// What one owner keeps, as a disposable SQLite file: facts for lists and filters, passages with their places, and the index
// that is searched. Every owner has a file of his own, because the weight of a word depends on all texts of an index: in a
// common one, scores would tell what others keep. The index holds only what is current; words leave the file with the entry.
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import type { TailMessage } from "@aether/bus";
import { type listEntries, type Request, trustLevels } from "@aether/contracts";
import { cutDocument, cutNote } from "./cut.ts";
import { dateText } from "./dates.ts";
import {
  type EntryFacts,
  parseRecord,
  type StoredEntry,
  sameness,
  type Tombstone,
  titleOf,
  toFacts,
} from "./record.ts";

/** A passage's row is the sequence of its message and its number in it: the same in every file made from the stream. */
const passagesMax = 2 ** 18;

/** Tables and indices. `tokenizer` is another one only where a bench compares. */
export function createLayout(tokenizer = "porter unicode61 remove_diacritics 2"): string {
  return `
  CREATE TABLE entry (
    id TEXT PRIMARY KEY, sequence INTEGER, kind TEXT, author TEXT, thread TEXT, at TEXT, expires_at TEXT, trust INTEGER,
    intent_id TEXT, job_id TEXT, sameness TEXT, superseded_by TEXT, superseded_at TEXT, facts TEXT) WITHOUT ROWID;
  CREATE INDEX entry_by_sameness ON entry (sameness);
  CREATE INDEX entry_by_author ON entry (author) WHERE superseded_by IS NULL;
  CREATE INDEX entry_by_thread ON entry (thread, id) WHERE thread IS NOT NULL;
  CREATE INDEX entry_by_intent ON entry (intent_id, id) WHERE intent_id IS NOT NULL;
  CREATE INDEX entry_by_job ON entry (job_id, id) WHERE job_id IS NOT NULL;
  CREATE INDEX entry_by_expiry ON entry (expires_at) WHERE expires_at IS NOT NULL;
  CREATE TABLE label (pair TEXT, id TEXT, PRIMARY KEY (pair, id)) WITHOUT ROWID;
  CREATE INDEX label_by_id ON label (id);
  CREATE TABLE forgotten (id TEXT PRIMARY KEY, sequence INTEGER, erase INTEGER) WITHOUT ROWID;
  CREATE TABLE passage (
    row INTEGER PRIMARY KEY, id TEXT, chain TEXT, line_from INTEGER, line_to INTEGER, byte_from INTEGER, byte_to INTEGER);
  CREATE INDEX passage_by_chain ON passage (chain, row);
  CREATE TABLE vector (row INTEGER, model TEXT, digest TEXT, data BLOB, PRIMARY KEY (row, model)) WITHOUT ROWID;
  CREATE VIRTUAL TABLE passage_text USING fts5 (title, body, author, date, tokenize = '${tokenizer}');
  INSERT INTO passage_text (passage_text, rank) VALUES ('secure-delete', 1);`;
}

const statements = new WeakMap<DatabaseSync, Map<string, StatementSync>>();

function run(database: DatabaseSync, sql: string, ...values: SQLInputValue[]): void {
  prepare(database, sql).run(...values);
}

function prepare(database: DatabaseSync, sql: string): StatementSync {
  const known = statements.get(database) ?? new Map<string, StatementSync>();
  statements.set(database, known);
  const statement = known.get(sql) ?? database.prepare(sql);
  known.set(sql, statement);
  return statement;
}

/** Puts one message of the stream into the tables. */
export function applyMessage(database: DatabaseSync, { data, sequence }: TailMessage): void {
  if (!data) return;
  const record = parseRecord(data);
  if (record.type === "entry") putEntry(database, record, sequence);
  else bury(database, record, sequence);
}

/** Puts an entry into the tables, and takes the one whose place it takes out of the index. */
export function putEntry(database: DatabaseSync, entry: StoredEntry, sequence: number): void {
  const { id, labels } = entry;
  // An entry is accepted once, and what was forgotten stays forgotten.
  if (prepare(database, "SELECT 1 FROM entry WHERE id = ?1 UNION ALL SELECT 1 FROM forgotten WHERE id = ?1").get(id))
    return;
  run(
    database,
    `INSERT INTO entry VALUES (${Array(14).fill("?").join(", ")})`,
    ...[id, sequence, entry.kind, entry.author, entry.thread, entry.valid_from, entry.expires_at],
    ...[trustLevels.indexOf(entry.trust), entry.intent_id, entry.job_id, sameness(entry), null, null],
    JSON.stringify(toFacts(entry)),
  );
  for (const [key, value] of Object.entries(labels))
    run(database, "INSERT INTO label VALUES (?, ?)", `${key}=${value}`, id);
  // A title that the text begins with would only count its words twice.
  const title = entry.title === titleOf(entry.text) ? "" : entry.title;
  const chain = entry.thread === null ? id : `thread:${entry.thread}`;
  const passages = entry.kind === "note" ? cutNote(entry.text) : cutDocument(entry.text);
  for (const [part, { headings, text, lines, bytes }] of passages.entries()) {
    const row = sequence * passagesMax + part;
    run(database, "INSERT INTO passage VALUES (?, ?, ?, ?, ?, ?, ?)", row, id, chain, ...lines, ...bytes);
    run(
      database,
      "INSERT INTO passage_text (rowid, title, body, author, date) VALUES (?, ?, ?, ?, ?)",
      ...[row, [title, ...headings].join(" \n"), text, entry.author, dateText(entry.valid_from)],
    );
  }
  if (entry.supersedes) supersede(database, entry.supersedes, { by: id, at: entry.valid_from });
}

function supersede(database: DatabaseSync, id: string, { by, at }: { by: string; at: string }): void {
  run(database, "UPDATE entry SET superseded_by = ?, superseded_at = ? WHERE id = ?", by, at, id);
  dropPassages(database, id);
}

function dropPassages(database: DatabaseSync, id: string): void {
  const sequence = prepare(database, "SELECT sequence FROM entry WHERE id = ?").get(id)?.sequence;
  if (sequence === undefined) return;
  const rows = [Number(sequence) * passagesMax, (Number(sequence) + 1) * passagesMax - 1];
  run(database, "DELETE FROM passage_text WHERE rowid IN (SELECT row FROM passage WHERE row BETWEEN ? AND ?)", ...rows);
  run(database, "DELETE FROM passage WHERE row BETWEEN ? AND ?", ...rows);
  run(database, "DELETE FROM vector WHERE row BETWEEN ? AND ?", ...rows);
}

/** Takes every word of an entry out; which message is still to be erased is remembered where this file has seen it. */
function bury(database: DatabaseSync, tombstone: Tombstone, sequence: number): void {
  const { id, supersedes } = tombstone;
  const known = prepare(database, "SELECT sequence FROM entry WHERE id = ?").get(id);
  dropPassages(database, id);
  run(database, "DELETE FROM label WHERE id = ?", id);
  run(database, "DELETE FROM entry WHERE id = ?", id);
  run(
    database,
    "INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?)",
    id,
    sequence,
    Number(known?.sequence ?? 0) || null,
  );
  if (supersedes) supersede(database, supersedes, { by: id, at: tombstone.superseded_at });
}

export interface EntryRow {
  facts: EntryFacts;
  sequence: number;
  supersededBy: string | null;
  supersededAt: string | null;
}

/** Lookups that decide about a write, and lists; all from an index. */
export function entryQueries(database: DatabaseSync) {
  const one = (sql: string, ...values: SQLInputValue[]) => prepare(database, sql).get(...values);
  return {
    get(id: string): EntryRow | null {
      const row = one("SELECT * FROM entry WHERE id = ?", id);
      return row ? toRow(row) : null;
    },
    isForgotten: (id: string) => one("SELECT 1 FROM forgotten WHERE id = ?", id) !== undefined,
    /** The current entry that says the same. */
    same(entry: StoredEntry, now: string): string | null {
      const row = one(
        `SELECT id FROM entry WHERE sameness = ? AND superseded_by IS NULL AND (expires_at IS NULL OR expires_at > ?)
         AND id <> ? AND id <> ? LIMIT 1`,
        ...[sameness(entry), now, entry.supersedes ?? "", entry.id],
      );
      return row ? String(row.id) : null;
    },
    authors: (): string[] =>
      // From one to the next in the index: DISTINCT would read all of it.
      prepare(
        database,
        `WITH RECURSIVE known (author) AS (
           SELECT min(author) FROM entry WHERE superseded_by IS NULL
           UNION ALL SELECT (SELECT min(author) FROM entry WHERE superseded_by IS NULL AND author > known.author)
           FROM known WHERE author IS NOT NULL LIMIT 1000)
         SELECT author FROM known WHERE author IS NOT NULL`,
      )
        .all()
        .map((row) => String(row.author)),
    expired: (now: string, limit: number): { id: string; sequence: number }[] =>
      prepare(database, "SELECT id, sequence FROM entry WHERE expires_at <= ? LIMIT ?")
        .all(now, limit)
        .map((row) => ({ id: String(row.id), sequence: Number(row.sequence) })),
    unerased: (): { id: string; sequence: number }[] =>
      prepare(database, "SELECT id, erase FROM forgotten WHERE erase IS NOT NULL")
        .all()
        .map((row) => ({ id: String(row.id), sequence: Number(row.erase) })),
    erased: (id: string) => run(database, "UPDATE forgotten SET erase = NULL WHERE id = ?", id),
    withoutVector: (model: string, after: number, limit: number): { row: number; text: string }[] =>
      prepare(
        database,
        `SELECT p.row, t.title || char(10) || t.body AS text FROM passage p CROSS JOIN passage_text t ON t.rowid = p.row
         WHERE p.row > ? AND NOT EXISTS (SELECT 1 FROM vector v WHERE v.row = p.row AND v.model = ?) ORDER BY p.row LIMIT ?`,
      )
        .all(after, model, limit)
        .map((row) => ({ row: Number(row.row), text: String(row.text) })),
    /** Keeps a passage's vector, unless the passage is gone. */
    putVector: ({ row, model, digest, data }: { row: number; model: string; digest: string; data: Uint8Array }) =>
      run(
        database,
        "INSERT OR REPLACE INTO vector SELECT row, ?, ?, ? FROM passage WHERE row = ?",
        ...[model, digest, data, row],
      ),
    list(request: Request<typeof listEntries>, now: string): EntryRow[] {
      const { where, values } = toFilter(request, request.superseded ? null : now);
      if (!request.superseded) where.push("e.superseded_by IS NULL");
      if (request.cursor !== undefined) {
        where.push("e.id < ?");
        values.push(request.cursor);
      }
      return prepare(
        database,
        `SELECT * FROM entry e ${where.length > 0 ? `WHERE ${where.join(" AND ")}` : ""} ORDER BY e.id DESC LIMIT ?`,
      )
        .all(...values, request.limit + 1)
        .map(toRow);
    },
  };
}

type Filters = Pick<
  Request<typeof listEntries>,
  "kind" | "author" | "thread" | "label" | "intent_id" | "job_id" | "after" | "before"
> & { leastTrust?: number };

/** Conditions on `entry e`; with `now` only what has not expired. */
export function toFilter(filters: Filters, now: string | null): { where: string[]; values: SQLInputValue[] } {
  const where: string[] = [];
  const values: SQLInputValue[] = [];
  const add = (sql: string, value: SQLInputValue | undefined) => {
    if (value === undefined) return;
    where.push(sql);
    values.push(value);
  };
  for (const column of ["kind", "author", "thread", "intent_id", "job_id"] as const)
    add(`e.${column} = ?`, filters[column]);
  add("e.at >= ?", filters.after && utc(filters.after));
  add("e.at < ?", filters.before && utc(filters.before));
  add("e.trust <= ?", filters.leastTrust);
  for (const pair of filters.label ?? []) add("EXISTS (SELECT 1 FROM label l WHERE l.pair = ? AND l.id = e.id)", pair);
  if (now !== null) add("(e.expires_at IS NULL OR e.expires_at > ?)", now);
  return { where, values };
}

/** Times are compared as text: all in one form. */
export const utc = (time: string) => new Date(time).toISOString();

function toRow(row: Record<string, unknown>): EntryRow {
  return {
    facts: JSON.parse(String(row.facts)) as EntryFacts,
    sequence: Number(row.sequence),
    supersededBy: row.superseded_by === null ? null : String(row.superseded_by),
    supersededAt: row.superseded_at === null ? null : String(row.superseded_at),
  };
}
