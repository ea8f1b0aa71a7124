// EVENTS as a table, to be read by whatever it is asked for. A page looks at so many sequences and no more, whatever matches in
// them: a rare event is found in steps, and a step costs the same for everybody. What the stream has dropped is dropped here.
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import type { Bus, TailMessage } from "@aether/bus";
import { streamState } from "@aether/bus";
import type { EventReadRequest } from "@aether/contracts";
import { openView } from "@aether/view";
import { everything, headerNames, stream, withSequence } from "./stored-event.ts";

const layout = `
  CREATE TABLE event (
    seq INTEGER PRIMARY KEY, stored_ms INTEGER, owner TEXT, source TEXT, type TEXT, intent_id TEXT, job_id TEXT,
    is_emitted INTEGER, bytes INTEGER, body TEXT) STRICT;
  CREATE INDEX by_time ON event (stored_ms);
  CREATE INDEX by_owner ON event (owner, seq);
  CREATE INDEX by_type ON event (type, seq);
  CREATE INDEX by_intent ON event (intent_id, seq) WHERE intent_id IS NOT NULL;
  CREATE INDEX by_job ON event (job_id, seq) WHERE job_id IS NOT NULL;
  CREATE TABLE emitted (owner TEXT PRIMARY KEY, bytes INTEGER) STRICT, WITHOUT ROWID;
  CREATE TRIGGER emitted_more AFTER INSERT ON event WHEN NEW.is_emitted BEGIN
    INSERT INTO emitted VALUES (NEW.owner, NEW.bytes) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes; END;
  CREATE TRIGGER emitted_less AFTER DELETE ON event WHEN OLD.is_emitted BEGIN
    UPDATE emitted SET bytes = bytes - OLD.bytes WHERE owner = OLD.owner; END;`;

const sequencesAtOnce = 50_000;
const tailSequences = 100_000;
const pageBytes = 256 * 1024;
const droppedAtOnce = 2_000;
const pruneMs = 60_000;
/** What nats-server adds to a message in its file; rather too much than too little. */
const messageOverheadBytes = 512;

export type EventFilter = Pick<EventReadRequest, "type" | "intent_id" | "job_id" | "source"> & {
  /** Null: of everybody. */
  owner: string | null;
};

export interface FoundPage {
  sequences: number[];
  /** Up to here everything was looked at. */
  after: number;
  /** The events, one JSON document a line. */
  text: string;
}

export interface EventsView extends AsyncDisposable {
  /** Sequence of the newest event that it holds. */
  readonly newest: number;
  reach(sequence: number, timeoutMs: number): Promise<boolean>;
  /** Resolves when something has come, at the time limit, or when the signal aborts. */
  changed(timeoutMs: number, signal: AbortSignal): Promise<void>;
  page(filter: EventFilter, range: { after: number; until: number; limit: number }): FoundPage;
  /** Where to begin for the last events before `until`. */
  beforeLast(filter: EventFilter, count: number, until: number): number;
  /** Where to begin for what was stored at a time or after it. */
  beforeTime(timeMs: number, until: number): number;
  /** What the emitted events take, those of one owner and those of all. */
  emittedBytes(owner: string): { own: number; all: number };
}

/** Opens the view and follows the stream. */
export async function openEventsView(bus: Bus, file: string): Promise<EventsView> {
  const waiting = new Set<() => void>();
  const statements = new Map<string, StatementSync>();
  const view = await openView({
    ...{ bus, file, stream, subject: everything, layout },
    apply: (database, message) => put(prepared(database, statements, insert), message),
    onChange() {
      for (const wake of [...waiting]) wake();
    },
  });
  const prepare = (sql: string) => prepared(view.database, statements, sql);
  const pruning = startPruning(bus, prepare);
  return {
    ...queries(prepare),
    get newest() {
      return view.sequence;
    },
    reach: (sequence, timeoutMs) => view.reach(sequence, timeoutMs),
    changed: (timeoutMs, signal) => wait(waiting, timeoutMs, signal),
    async [Symbol.asyncDispose]() {
      await pruning[Symbol.asyncDispose]();
      await view[Symbol.asyncDispose]();
    },
  };
}

type Prepare = (sql: string) => StatementSync;

const insert = "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

function put(statement: StatementSync, { sequence, time, subject, data, header }: TailMessage): void {
  if (!data) return;
  const body = new TextDecoder().decode(data);
  const { source, type, intentid, jobid } = JSON.parse(body);
  const isEmitted = subject.startsWith("aether.events.v0.user.") ? 1 : 0;
  const bytes = data.length + messageOverheadBytes;
  const about = [header(headerNames.owner) ?? "", source, type, intentid ?? null, jobid ?? null];
  statement.run(sequence, time.getTime(), ...about, isEmitted, bytes, body);
}

function queries(prepare: Prepare): Pick<EventsView, "page" | "beforeLast" | "beforeTime" | "emittedBytes"> {
  return {
    page(filter, { after, until, limit }) {
      const end = Math.min(until, after + sequencesAtOnce);
      const { where, values } = toWhere(filter, after, end);
      const sequences: number[] = [];
      let text = "";
      for (const row of prepare(`SELECT seq, body FROM event WHERE ${where} ORDER BY seq LIMIT ?`).iterate(
        ...values,
        limit,
      )) {
        sequences.push(Number(row.seq));
        text += `${withSequence(String(row.body), Number(row.seq))}\n`;
        if (text.length > pageBytes) break;
      }
      const isCut = sequences.length === limit || text.length > pageBytes;
      return { sequences, text, after: isCut ? (sequences.at(-1) ?? end) : Math.max(after, end) };
    },
    beforeLast(filter, count, until) {
      const { where, values } = toWhere(filter, Math.max(0, until - tailSequences), until);
      const last = `SELECT seq FROM event WHERE ${where} ORDER BY seq DESC LIMIT ?`;
      const row = prepare(`SELECT min(seq) AS first FROM (${last})`).get(...values, count);
      return typeof row?.first === "number" ? row.first - 1 : until;
    },
    beforeTime(timeMs, until) {
      const row = prepare("SELECT seq FROM event WHERE stored_ms >= ? ORDER BY stored_ms, seq LIMIT 1").get(timeMs);
      return typeof row?.seq === "number" ? row.seq - 1 : until;
    },
    emittedBytes(owner) {
      const row = prepare("SELECT sum(bytes) AS everybody, sum(iif(owner = ?, bytes, 0)) AS own FROM emitted").get(
        owner,
      );
      return { own: Number(row?.own ?? 0), all: Number(row?.everybody ?? 0) };
    },
  };
}

function toWhere(filter: EventFilter, after: number, until: number): { where: string; values: SQLInputValue[] } {
  const where = ["seq > ?", "seq <= ?"];
  const values: SQLInputValue[] = [after, until];
  const add = (sql: string, ...more: SQLInputValue[]) => {
    where.push(sql);
    values.push(...more);
  };
  if (filter.owner !== null) add("owner = ?", filter.owner);
  if (filter.intent_id !== undefined) add("intent_id = ?", filter.intent_id);
  if (filter.job_id !== undefined) add("job_id = ?", filter.job_id);
  // What begins with a step is what lies between it and the character after its end: `/` and `0`, `.` and `/`.
  if (filter.source !== undefined) {
    const source = filter.source.replace(/\/+$/, "");
    add("(source = ? OR (source >= ? AND source < ?))", source, `${source}/`, `${source}0`);
  }
  if (filter.type && filter.type.length > 0) {
    const types = filter.type.map((type) => (type.endsWith(".") ? [type, `${type.slice(0, -1)}/`] : [type]));
    types.sort((one, other) => one.length - other.length); // or every order would be a statement of its own
    const sql = types.map((range) => (range.length === 2 ? "(type >= ? AND type < ?)" : "type = ?"));
    add(`(${sql.join(" OR ")})`, ...types.flat());
  }
  return { where: where.join(" AND "), values };
}

/** Drops, every minute, what the stream has dropped. */
function startPruning(bus: Bus, prepare: Prepare): AsyncDisposable {
  const ended = new AbortController();
  const run = async () => {
    while (!ended.signal.aborted) {
      try {
        const { firstSequence } = await streamState(bus, stream);
        const drop = prepare(
          "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE seq < ? ORDER BY seq LIMIT ?)",
        );
        while (!ended.signal.aborted && Number(drop.run(firstSequence, droppedAtOnce).changes) > 0) {
          await wait(new Set(), 1, ended.signal);
        }
      } catch (error) {
        bus.log.warn({ err: error }, "dropped events are still listed, the next try is in a minute");
      }
      await wait(new Set(), pruneMs, ended.signal);
    }
  };
  const running = run();
  return {
    async [Symbol.asyncDispose]() {
      ended.abort();
      await running;
    },
  };
}

function prepared(database: DatabaseSync, statements: Map<string, StatementSync>, sql: string): StatementSync {
  const statement = statements.get(sql) ?? database.prepare(sql);
  statements.set(sql, statement);
  return statement;
}

function wait(waiting: Set<() => void>, timeoutMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      waiting.delete(end);
      resolve();
    };
    const timer = setTimeout(end, timeoutMs);
    if (signal.aborted) return end();
    signal.addEventListener("abort", end, { once: true });
    waiting.add(end);
  });
}
