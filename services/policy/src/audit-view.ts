// The audit log as a table, newest first and by whatever it is asked for. It is a view: lists are read from it, nothing else.
// What has left the stream is in the segments; a view that is made anew takes it from there.
import { readFile } from "node:fs/promises";
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import type { Bus } from "@aether/bus";
import { AuditRecord, type listAudit, ProblemError, type Reply, type Request } from "@aether/contracts";
import { openView } from "@aether/view";
import { z } from "zod";
import { auditStream, auditSubject } from "./audit-stream.ts";
import { listSegments } from "./segments.ts";

const layout = `
  CREATE TABLE record (
    seq INTEGER PRIMARY KEY, actor TEXT, action TEXT, job_id TEXT, intent_id TEXT, decision TEXT, kind TEXT, body TEXT
  ) STRICT;
  CREATE INDEX by_actor ON record (actor, seq);
  CREATE INDEX by_action ON record (action, seq);
  CREATE INDEX by_job ON record (job_id, seq) WHERE job_id IS NOT NULL;
  CREATE INDEX by_intent ON record (intent_id, seq) WHERE intent_id IS NOT NULL;
  CREATE INDEX by_denial ON record (seq) WHERE decision = 'deny';
  CREATE INDEX by_kind ON record (kind, seq);
`;
const insertRecord = "INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
const linesAtOnce = 200;
const catchUpMs = 2000;
const Cursor = z.coerce.number().int().positive();

export interface AuditView extends AsyncDisposable {
  /** A page of records; waits until the view holds the stream up to `sequence`. */
  list(request: Request<typeof listAudit>, sequence: number): Promise<Reply<typeof listAudit>>;
}

/** Opens the view and follows the log. */
export async function openAuditView(options: { bus: Bus; file: string; segmentsDir: string }): Promise<AuditView> {
  let statement: { database: DatabaseSync; insert: StatementSync } | null = null;
  const view = await openView({
    bus: options.bus,
    file: options.file,
    stream: auditStream,
    subject: auditSubject,
    layout,
    apply(database, message) {
      if (statement?.database !== database) statement = { database, insert: database.prepare(insertRecord) };
      if (message.data) insertLines(statement.insert, new TextDecoder().decode(message.data).split("\n"));
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
  return {
    async list(request, sequence) {
      if (!state.filled || !(await view.reach(sequence, catchUpMs))) {
        throw new ProblemError("unavailable", { detail: "the audit view is catching up", retry_after_ms: 1000 });
      }
      return listPage(view.database, request);
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
  const insert = database.prepare(insertRecord);
  const oldest = () =>
    Number(database.prepare("SELECT min(seq) AS oldest FROM record").get()?.oldest ?? Number.MAX_VALUE);
  for (const { file, seal } of (await listSegments(segmentsDir)).reverse()) {
    if (seal.first_seq >= oldest()) continue;
    const lines = (await readFile(file, "utf8")).split("\n").slice(0, -1).reverse();
    for (let at = 0; at < lines.length && !ended.aborted; at += linesAtOnce) {
      database.exec("BEGIN");
      insertLines(insert, lines.slice(at, at + linesAtOnce));
      database.exec("COMMIT");
      await setImmediate();
    }
    if (ended.aborted) return;
  }
}

function insertLines(insert: StatementSync, lines: readonly string[]): void {
  for (const line of lines) {
    const { seq, actor, action, job_id, intent_id, decision, kind } = toRecord(line);
    insert.run(seq, principalNameOf(actor), action, job_id, intent_id, decision?.outcome ?? null, kind, line);
  }
}

// What the log's own writer stored is not parsed again: a record of a newer layout must not stop the view.
const toRecord = (line: string) => JSON.parse(line) as AuditRecord;
const principalNameOf = ({ type, id }: AuditRecord["actor"]) => `${type.toLowerCase()}:${id}`;

function listPage(database: DatabaseSync, request: Request<typeof listAudit>): Reply<typeof listAudit> {
  const where: string[] = [];
  const values: SQLInputValue[] = [];
  const add = (sql: string, ...more: SQLInputValue[]) => {
    where.push(sql);
    values.push(...more);
  };
  for (const column of ["actor", "action", "job_id", "intent_id", "kind"] as const) {
    const wanted = request[column];
    if (wanted !== undefined) add(`${column} = ?`, wanted);
  }
  if (request.decision) add(`decision = '${request.decision}'`); // a literal, so that its partial index serves
  if (request.cursor !== undefined) add("seq < ?", parseCursor(request.cursor));
  const rows = database
    .prepare(
      `SELECT body FROM record ${where.length > 0 ? `WHERE ${where.join(" AND ")}` : ""} ORDER BY seq DESC LIMIT ?`,
    )
    .all(...values, request.limit + 1);
  const items = rows.slice(0, request.limit).map((row) => AuditRecord.parse(toRecord(String(row.body))));
  const last = items.at(-1);
  return { items, next_cursor: rows.length > request.limit && last ? String(last.seq) : null };
}

function parseCursor(text: string): number {
  const cursor = Cursor.safeParse(text);
  if (!cursor.success) throw new ProblemError("invalid-request", { detail: "the cursor is not one of this list" });
  return cursor.data;
}
