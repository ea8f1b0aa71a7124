// Lists and the queue's order, read from a disposable SQLite view of KV `jobs`. Nothing is decided here: what is found is
// read again from the truth, or compare-and-set against it.
import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import type { Bus, Entry } from "@aether/bus";
import { type Capacity, isTerminal, type JobState, jobStates, requireBytes } from "@aether/contracts";
import { openView, type View } from "@aether/view";
import { queueEndsAt, StoredJob } from "./job.ts";

const layout = `
  CREATE TABLE job (
    id TEXT PRIMARY KEY, revision INTEGER, state TEXT, owner TEXT, intent_id TEXT, pool TEXT, priority INTEGER, created_at TEXT,
    queued_at TEXT, not_before TEXT, queue_ends_at TEXT, cpus REAL, memory_bytes INTEGER, disk_bytes INTEGER, incarnation TEXT, attempt INTEGER,
    secret_hash TEXT, claimed_at TEXT, ended_at TEXT, approval_id TEXT, record TEXT) WITHOUT ROWID;
  CREATE INDEX by_queue ON job (pool, priority DESC, queued_at, id) WHERE state = 'queued';
  CREATE INDEX by_queue_end ON job (queue_ends_at) WHERE state = 'queued';
  CREATE INDEX by_holder ON job (incarnation) WHERE state IN ('starting', 'running', 'stopping');
  CREATE INDEX by_due ON job (pool, not_before) WHERE state = 'queued' AND not_before IS NOT NULL;
  CREATE INDEX by_approval ON job (approval_id, id) WHERE state = 'awaiting_approval';
  CREATE INDEX by_owner ON job (owner, state, id DESC);
  CREATE INDEX by_owner_id ON job (owner, id DESC);
  CREATE INDEX by_pool ON job (pool, id DESC);
  CREATE INDEX by_state ON job (state, id DESC);
  CREATE INDEX by_intent ON job (intent_id, id DESC) WHERE intent_id IS NOT NULL;
  CREATE INDEX by_end ON job (ended_at) WHERE ended_at IS NOT NULL;
  CREATE TABLE label (pair TEXT, id TEXT, PRIMARY KEY (pair, id)) WITHOUT ROWID;
  CREATE INDEX label_by_id ON label (id);`;

const openStates = jobStates.filter((state) => !isTerminal(state));

interface JobFilter {
  owner: string | null;
  states: readonly JobState[];
  labels: readonly string[];
  intentId: string | null;
  pool: string | null;
  before: string | null;
  limit: number;
}

export interface Candidate {
  id: string;
  revision: number;
  cpus: number;
  memoryBytes: number;
  diskBytes: number;
}

export interface Held {
  id: string;
  revision: number;
  state: JobState;
  incarnation: string | null;
  attempt: number;
  secretHash: string | null;
  claimedAt: string | null;
}

export interface Awaiting {
  approvalId: string;
  id: string;
}

export interface JobIndex extends AsyncDisposable {
  readonly view: View;
  list(filter: JobFilter): Entry<StoredJob>[];
  queued(pools: readonly string[], free: Capacity, now: Date, limit: number): Candidate[];
  /** The earliest time at which a job that waits out its backoff may run. */
  nextDue(pools: readonly string[], now: Date): Date | null;
  queueTimeouts(now: Date, limit: number): string[];
  /** Jobs that wait for a person, by what they wait for, from a place on. */
  awaiting(after: Awaiting | null, limit: number): Awaiting[];
  held(): Held[];
  /** How many there are in each state that is not terminal. */
  countOpen(): { state: JobState; count: number }[];
  heldBy(incarnation: string): Held[];
  find(id: string): Held | null;
  endedBefore(time: Date, limit: number): { id: string; revision: number }[];
  beyondCount(keep: number, limit: number): { id: string; revision: number }[];
}

/** Opens the view; `onChange` is told the ids of what changed, after it is visible. */
export async function openJobIndex(bus: Bus, file: string, onChange: (ids: string[]) => void): Promise<JobIndex> {
  let changed: string[] = [];
  const view = await openView({
    bus,
    file,
    stream: "KV_jobs",
    subject: "$KV.jobs.>",
    layout,
    apply(database, message) {
      const id = message.subject.slice("$KV.jobs.".length);
      changed.push(id);
      if (message.data)
        put(database, StoredJob.parse(JSON.parse(new TextDecoder().decode(message.data))), message.sequence);
      else drop(database, id);
    },
    onChange() {
      const ids = changed;
      changed = [];
      onChange(ids);
    },
  });
  return { view, ...queries(view.database), [Symbol.asyncDispose]: () => view[Symbol.asyncDispose]() };
}

const statements = new WeakMap<DatabaseSync, Map<string, ReturnType<DatabaseSync["prepare"]>>>();

function prepare(database: DatabaseSync, sql: string) {
  const known = statements.get(database) ?? new Map<string, ReturnType<DatabaseSync["prepare"]>>();
  statements.set(database, known);
  const statement = known.get(sql) ?? database.prepare(sql);
  known.set(sql, statement);
  return statement;
}

function put(database: DatabaseSync, job: StoredJob, revision: number): void {
  const { resources } = job.spec;
  const labels = Object.entries(job.spec.labels);
  if (labels.length > 0 && job.transitions.length === 1) {
    for (const [key, value] of labels)
      prepare(database, "INSERT OR REPLACE INTO label VALUES (?, ?)").run(`${key}=${value}`, job.id);
  }
  prepare(database, `INSERT OR REPLACE INTO job VALUES (${Array(21).fill("?").join(", ")})`).run(
    job.id,
    revision,
    job.state,
    job.owner,
    job.intent_id,
    job.spec.pool,
    job.spec.priority,
    job.created_at,
    job.queued_at,
    job.not_before,
    queueEndsAt(job)?.toISOString() ?? null,
    resources.cpus ?? 0,
    requireBytes(resources.memory ?? 0),
    requireBytes(resources.disk),
    isTerminal(job.state) ? null : job.incarnation,
    job.attempt,
    job.secret_hash,
    job.claimed_at,
    isTerminal(job.state) ? job.ended_at : null,
    job.approval_id,
    JSON.stringify(job),
  );
}

function drop(database: DatabaseSync, id: string): void {
  prepare(database, "DELETE FROM job WHERE id = ?").run(id);
  prepare(database, "DELETE FROM label WHERE id = ?").run(id);
}

function queries(database: DatabaseSync): Omit<JobIndex, "view" | typeof Symbol.asyncDispose> {
  const all = (sql: string, ...values: SQLInputValue[]) => prepare(database, sql).all(...values);
  const heldColumns = "id, revision, state, incarnation, attempt, secret_hash, claimed_at";
  const active = "state IN ('starting', 'running', 'stopping')";
  return {
    list(filter) {
      const rows = all(...listQuery(filter));
      return rows.map((row) => ({
        value: JSON.parse(String(row.record)) as StoredJob,
        revision: Number(row.revision),
      }));
    },
    queued(pools, free, now, limit) {
      const rows = all(
        `SELECT id, revision, cpus, memory_bytes, disk_bytes FROM job WHERE state = 'queued' AND pool IN (${marks(pools)})
         AND cpus <= ? AND memory_bytes <= ? AND disk_bytes <= ? AND (not_before IS NULL OR not_before <= ?)
         ORDER BY priority DESC, queued_at, id LIMIT ?`,
        ...pools,
        free.cpus,
        free.memory_bytes,
        free.disk_bytes ?? Number.MAX_SAFE_INTEGER,
        now.toISOString(),
        limit,
      );
      return rows.map((row) => ({
        id: String(row.id),
        revision: Number(row.revision),
        cpus: Number(row.cpus),
        memoryBytes: Number(row.memory_bytes),
        diskBytes: Number(row.disk_bytes),
      }));
    },
    nextDue(pools, now) {
      const [row] = all(
        `SELECT min(not_before) AS due FROM job INDEXED BY by_due
         WHERE state = 'queued' AND not_before IS NOT NULL AND pool IN (${marks(pools)}) AND not_before > ?`,
        ...pools,
        now.toISOString(),
      );
      return typeof row?.due === "string" ? new Date(row.due) : null;
    },
    queueTimeouts: (now, limit) =>
      all(
        "SELECT id FROM job INDEXED BY by_queue_end WHERE state = 'queued' AND queue_ends_at <= ? LIMIT ?",
        now.toISOString(),
        limit,
      ).map((row) => String(row.id)),
    awaiting: (after, limit) =>
      all(
        `SELECT approval_id, id FROM job INDEXED BY by_approval
         WHERE state = 'awaiting_approval' AND (approval_id, id) > (?, ?) ORDER BY approval_id, id LIMIT ?`,
        after?.approvalId ?? "",
        after?.id ?? "",
        limit,
      ).map((row) => ({ approvalId: String(row.approval_id), id: String(row.id) })),
    held: () => all(`SELECT ${heldColumns} FROM job WHERE ${active}`).map(toHeld),
    countOpen: () =>
      openStates.map((state) => {
        const [row] = all("SELECT count(*) AS found FROM job WHERE state = ?", state);
        return { state, count: Number(row?.found ?? 0) };
      }),
    heldBy: (incarnation) =>
      all(`SELECT ${heldColumns} FROM job WHERE ${active} AND incarnation = ?`, incarnation).map(toHeld),
    find: (id) => all(`SELECT ${heldColumns} FROM job WHERE id = ?`, id).map(toHeld)[0] ?? null,
    endedBefore: (time, limit) =>
      all("SELECT id, revision FROM job WHERE ended_at < ? LIMIT ?", time.toISOString(), limit).map(toRevision),
    beyondCount(keep, limit) {
      const [row] = all("SELECT count(*) AS ended FROM job WHERE ended_at IS NOT NULL");
      const over = Math.min(limit, Number(row?.ended ?? 0) - keep);
      return over > 0
        ? all("SELECT id, revision FROM job WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT ?", over).map(toRevision)
        : [];
    },
  };
}

const marks = (list: readonly unknown[]) => list.map(() => "?").join(", ");

/** A page costs what it holds, not what there is: each state is read in its own order from its index, and the heads are merged. */
function listQuery(filter: JobFilter): [string, ...SQLInputValue[]] {
  const where: string[] = [];
  const values: SQLInputValue[] = [];
  const add = (sql: string, value: SQLInputValue | null) => {
    if (value === null) return;
    where.push(sql);
    values.push(value);
  };
  add("owner = ?", filter.owner);
  add("intent_id = ?", filter.intentId);
  add("pool = ?", filter.pool);
  add("job.id < ?", filter.before);
  const [pair, ...pairs] = filter.labels;
  for (const more of pairs) add("EXISTS (SELECT 1 FROM label WHERE label.id = job.id AND pair = ?)", more);
  const from = pair === undefined ? "job" : "label CROSS JOIN job ON job.id = label.id AND label.pair = ?";
  const order = `ORDER BY ${pair === undefined ? "job.id" : "label.id"} DESC LIMIT ?`;
  const head = (state: JobState | null) => {
    const all = [...where, ...(state === null ? [] : ["state = ?"])];
    const sql = `SELECT job.id AS id, record, revision FROM ${from}${all.length > 0 ? ` WHERE ${all.join(" AND ")}` : ""} ${order}`;
    return {
      sql,
      values: [...(pair === undefined ? [] : [pair]), ...values, ...(state === null ? [] : [state]), filter.limit],
    };
  };
  const heads = filter.states.length === 0 ? [head(null)] : [...new Set(filter.states)].map(head);
  const union = heads.map(({ sql }) => `SELECT * FROM (${sql})`).join(" UNION ALL ");
  return [`${union} ORDER BY id DESC LIMIT ?`, ...heads.flatMap((part) => part.values), filter.limit];
}

type Row = Record<string, unknown>;

function toHeld(row: Row): Held {
  return {
    id: String(row.id),
    revision: Number(row.revision),
    state: String(row.state) as JobState,
    incarnation: row.incarnation === null ? null : String(row.incarnation),
    attempt: Number(row.attempt),
    secretHash: row.secret_hash === null ? null : String(row.secret_hash),
    claimedAt: row.claimed_at === null ? null : String(row.claimed_at),
  };
}

const toRevision = (row: Row) => ({ id: String(row.id), revision: Number(row.revision) });
