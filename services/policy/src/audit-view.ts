// The audit log as a table, newest first and by whatever it is asked for. It is a view: lists are read from it, nothing else.
// What has left the stream is in the segments; a view that is made anew takes it from there.
import { readFile } from "node:fs/promises";
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import type { Bus } from "@aether/bus";
import {
  AuditRecord,
  type listAudit,
  ProblemError,
  parseDurationMs,
  type Reply,
  type Request,
} from "@aether/contracts";
import { openView } from "@aether/view";
import { z } from "zod";
import { auditStream, auditSubject } from "./audit-stream.ts";
import { listSegments } from "./segments.ts";

/** Decisions are waited for, lists hardly ever: a transaction for each record would cost more than the decision. */
const gatherMs = 50;
const layout = `
  CREATE TABLE record (
    seq INTEGER PRIMARY KEY, id TEXT, actor TEXT, action TEXT, job_id TEXT, intent_id TEXT, decision TEXT, kind TEXT,
    digest TEXT, written_ms INTEGER, sequence INTEGER, body TEXT
  ) STRICT;
  CREATE INDEX by_id ON record (id);
  CREATE INDEX by_actor ON record (actor, seq);
  CREATE INDEX by_action ON record (action, seq);
  CREATE INDEX by_job ON record (job_id, seq) WHERE job_id IS NOT NULL;
  CREATE INDEX by_intent ON record (intent_id, seq) WHERE intent_id IS NOT NULL;
  CREATE INDEX by_denial ON record (seq) WHERE decision = 'deny';
  CREATE INDEX by_kind ON record (kind, seq);
  CREATE INDEX by_digest ON record (digest, seq) WHERE digest IS NOT NULL;
  CREATE TABLE block (number INTEGER PRIMARY KEY, oldest_ms INTEGER, newest_ms INTEGER) STRICT;
`;
const insertRecord = "INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
// Records are in order of the log, and only nearly in order of time: a clock may step. So of every so many records the oldest
// and the newest time is kept, which leads a list by time to where it must look.
const blockRecords = 1000;
const insertBlock = `INSERT INTO block VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET
  oldest_ms = min(oldest_ms, excluded.oldest_ms), newest_ms = max(newest_ms, excluded.newest_ms)`;
const linesAtOnce = 200;
const exportRecords = 1000;
const exportBytes = 512 * 1024;
const catchUpMs = 2000;
const Cursor = z.coerce.number().int().positive();

export interface AuditView extends AsyncDisposable {
  /** A page of records; waits until the view holds the stream up to `sequence`. */
  list(request: Request<typeof listAudit>, sequence: number): Promise<Reply<typeof listAudit>>;
  /** A page of lines for an export; without `until` up to what is stored now. */
  export(
    request: Filters & { after: number; until_seq?: number | undefined },
    sequence: number,
  ): Promise<{ text: string; after: number; until: number }>;
  /** Where a record is: its position, and the message that holds it where that was seen; null where there is none. */
  find(id: string, sequence: number): Promise<{ seq: number; sequence: number | null } | null>;
}

/** Opens the view and follows the log. */
export async function openAuditView(options: { bus: Bus; file: string; segmentsDir: string }): Promise<AuditView> {
  let insert: { database: DatabaseSync; lines: ReturnType<typeof prepareInsert> } | null = null;
  const view = await openView({
    bus: options.bus,
    file: options.file,
    stream: auditStream,
    subject: auditSubject,
    layout,
    gatherMs,
    apply(database, message) {
      if (insert?.database !== database) insert = { database, lines: prepareInsert(database) };
      if (message.data) insert.lines(new TextDecoder().decode(message.data).split("\n"), message.sequence);
    },
  });
  const ended = new AbortController();
  const state = { filled: false };
  const filling = fillFromSegments(view.database, options.segmentsDir, ended.signal).then(
    () => {
      state.filled = true;
    },
    (error: unknown) => options.bus.log.error({ err: error }, "sealed audit records could not be listed"),
  );
  const caughtUp = async (sequence: number) => {
    if (state.filled && (await view.reach(sequence, catchUpMs))) return;
    throw new ProblemError("unavailable", { detail: "the audit view is catching up", retry_after_ms: 1000 });
  };
  return {
    async list(request, sequence) {
      await caughtUp(sequence);
      return listPage(view.database, request);
    },
    async export({ until_seq, ...request }, sequence) {
      await caughtUp(sequence);
      const until =
        until_seq ?? Number(view.database.prepare("SELECT max(seq) AS newest FROM record").get()?.newest ?? 0);
      return { ...exportPage(view.database, request, until), until };
    },
    async find(id, sequence) {
      await caughtUp(sequence);
      const row = view.database.prepare("SELECT seq, sequence FROM record WHERE id = ?").get(id);
      return row ? { seq: Number(row.seq), sequence: row.sequence === null ? null : Number(row.sequence) } : null;
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      await filling;
      await view[Symbol.asyncDispose]();
    },
  };
}

/** Takes what the view lacks at its old end from the segments, newest first and in small steps: decisions go on meanwhile. */
async function fillFromSegments(database: DatabaseSync, segmentsDir: string, ended: AbortSignal): Promise<void> {
  const insertLines = prepareInsert(database);
  const oldest = () =>
    Number(database.prepare("SELECT min(seq) AS oldest FROM record").get()?.oldest ?? Number.MAX_VALUE);
  for (const { file, seal } of (await listSegments(segmentsDir)).reverse()) {
    if (seal.first_seq >= oldest()) continue;
    const lines = (await readFile(file, "utf8")).split("\n").slice(0, -1).reverse();
    for (let at = 0; at < lines.length && !ended.aborted; at += linesAtOnce) {
      database.exec("BEGIN");
      insertLines(lines.slice(at, at + linesAtOnce), null);
      database.exec("COMMIT");
      await setImmediate();
    }
    if (ended.aborted) return;
  }
}

function prepareInsert(database: DatabaseSync): (lines: readonly string[], sequence: number | null) => void {
  const record: StatementSync = database.prepare(insertRecord);
  const block = database.prepare(insertBlock);
  return (lines, sequence) => {
    for (const line of lines) {
      const { seq, id, actor, action, job_id, intent_id, decision, kind, provenance, ts } = toRecord(line);
      const writtenMs = Date.parse(ts.wall);
      record.run(
        ...([seq, id, principalNameOf(actor), action, job_id, intent_id, decision?.outcome ?? null, kind] as const),
        ...([provenance.digest, writtenMs, sequence, line] as const),
      );
      block.run(Math.floor(seq / blockRecords), writtenMs, writtenMs);
    }
  };
}

// What the log's own writer stored is not parsed again: a record of a newer layout must not stop the view.
const toRecord = (line: string) => JSON.parse(line) as AuditRecord;
const principalNameOf = ({ type, id }: AuditRecord["actor"]) => `${type.toLowerCase()}:${id}`;

type Filters = Omit<Request<typeof listAudit>, "limit" | "cursor">;

/** What a filter asks of a row, as SQL and its values. */
function conditionsOf(filters: Filters): { where: string[]; values: SQLInputValue[] } {
  const where: string[] = [];
  const values: SQLInputValue[] = [];
  const add = (sql: string, ...more: SQLInputValue[]) => {
    where.push(sql);
    values.push(...more);
  };
  for (const column of ["actor", "action", "job_id", "intent_id", "kind", "digest"] as const) {
    const wanted = filters[column];
    if (wanted !== undefined) add(`${column} = ?`, wanted);
  }
  if (filters.decision) add(`decision = '${filters.decision}'`); // a literal, so that its partial index serves
  if (filters.since !== undefined) {
    const sinceMs = toTimeMs(filters.since);
    add("written_ms >= ?", sinceMs);
    add(`seq >= ${blockRecords} * (SELECT min(number) FROM block WHERE newest_ms >= ?)`, sinceMs);
  }
  if (filters.until !== undefined) {
    const untilMs = toTimeMs(filters.until);
    add("written_ms < ?", untilMs);
    add(`seq < ${blockRecords} * (1 + (SELECT max(number) FROM block WHERE oldest_ms < ?))`, untilMs);
  }
  return { where, values };
}

function listPage(database: DatabaseSync, request: Request<typeof listAudit>): Reply<typeof listAudit> {
  const { where, values } = conditionsOf(request);
  if (request.cursor !== undefined) {
    where.push("seq < ?");
    values.push(parseCursor(request.cursor));
  }
  const rows = database
    .prepare(
      `SELECT body FROM record ${where.length > 0 ? `WHERE ${where.join(" AND ")}` : ""} ORDER BY seq DESC LIMIT ?`,
    )
    .all(...values, request.limit + 1);
  const items = rows.slice(0, request.limit).map((row) => AuditRecord.parse(toRecord(String(row.body))));
  const last = items.at(-1);
  return { items, next_cursor: rows.length > request.limit && last ? String(last.seq) : null };
}

/** Lines as they were stored, behind `after` and up to `until`, as many as a page may take. */
function exportPage(
  database: DatabaseSync,
  { after, ...filters }: Filters & { after: number },
  until: number,
): { text: string; after: number } {
  const { where, values } = conditionsOf(filters);
  const sql = `SELECT seq, body FROM record WHERE ${[...where, "seq > ?", "seq <= ?"].join(" AND ")} ORDER BY seq LIMIT ?`;
  const lines: string[] = [];
  let [bytes, last] = [0, after];
  for (const { seq, body } of database.prepare(sql).iterate(...values, after, until, exportRecords)) {
    const line = `${body}\n`;
    bytes += Buffer.byteLength(line);
    if (bytes > exportBytes && lines.length > 0) return { text: lines.join(""), after: last };
    lines.push(line);
    last = Number(seq);
  }
  return { text: lines.join(""), after: lines.length < exportRecords ? until : last };
}

/** Milliseconds since the epoch of a time, or of a duration back from now. */
function toTimeMs(moment: string): number {
  const agoMs = parseDurationMs(moment);
  return agoMs === null ? Date.parse(moment) : Date.now() - agoMs;
}

function parseCursor(text: string): number {
  const cursor = Cursor.safeParse(text);
  if (!cursor.success) throw new ProblemError("invalid-request", { detail: "the cursor is not one of this list" });
  return cursor.data;
}
