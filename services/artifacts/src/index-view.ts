// Lists and sums, read from a disposable SQLite view of KV `artifacts`. The service is the bucket's one writer, so a view
// that has reached its last write is exact: what is counted here may be decided on.
import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import { type Bus, type Entry, ledgerWriterKey } from "@aether/bus";
import { openView, type View } from "@aether/view";
import { StoredArtifact, type StoredObject } from "./record.ts";

const layout = `
  CREATE TABLE artifact (
    id TEXT PRIMARY KEY, revision INTEGER, owner TEXT, job_id TEXT, intent_id TEXT, type TEXT, sha256 TEXT,
    size_bytes INTEGER, record TEXT) WITHOUT ROWID;
  CREATE INDEX by_owner ON artifact (owner, id DESC);
  CREATE INDEX by_job ON artifact (job_id, id DESC) WHERE job_id IS NOT NULL;
  CREATE INDEX by_intent ON artifact (intent_id, id DESC) WHERE intent_id IS NOT NULL;
  CREATE INDEX by_type ON artifact (type, id DESC);
  CREATE INDEX by_digest ON artifact (sha256, id DESC);
  CREATE TABLE label (pair TEXT, id TEXT, PRIMARY KEY (pair, id)) WITHOUT ROWID;
  CREATE INDEX label_by_id ON label (id);
  CREATE TABLE object (object TEXT PRIMARY KEY, size_bytes INTEGER, uses INTEGER) WITHOUT ROWID;
  CREATE TABLE owner_total (owner TEXT PRIMARY KEY, bytes INTEGER) WITHOUT ROWID;
  CREATE TABLE total (bytes INTEGER);
  INSERT INTO total VALUES (0);`;

interface ArtifactFilter {
  owner: string | null;
  jobId: string | null;
  intentId: string | null;
  type: string | null;
  sha256: string | null;
  labels: readonly string[];
  before: string | null;
  limit: number;
}

export interface ArtifactIndex extends AsyncDisposable {
  readonly view: View;
  list(filter: ArtifactFilter): Entry<StoredArtifact>[];
  /** Where the bytes of a digest are, if they are there. */
  objectOf(sha256: string): StoredObject | null;
  isUsed(object: string): boolean;
  /** Whether an owner has an artifact of these bytes. */
  owns(owner: string, sha256: string): boolean;
  /** Bytes that are kept, each object counted once. */
  totalBytes(): number;
  /** Bytes of an owner's artifacts, each counted in full. */
  ownerBytes(owner: string): number;
  /** Bytes of the artifacts that an owner has with a job. */
  jobBytes(owner: string, jobId: string): number;
}

export async function openArtifactIndex(bus: Bus, file: string): Promise<ArtifactIndex> {
  const view = await openView({
    bus,
    file,
    stream: "KV_artifacts",
    subject: "$KV.artifacts.>",
    layout,
    apply(database, message) {
      const id = message.subject.slice("$KV.artifacts.".length);
      if (id === ledgerWriterKey) return;
      drop(database, id);
      if (message.data)
        put(database, StoredArtifact.parse(JSON.parse(new TextDecoder().decode(message.data))), message.sequence);
    },
  });
  return { view, ...queries(view.database), [Symbol.asyncDispose]: () => view[Symbol.asyncDispose]() };
}

function put(database: DatabaseSync, artifact: StoredArtifact, revision: number): void {
  const { id, owner, job_id, intent_id, type, sha256, size_bytes, object } = artifact;
  database
    .prepare("INSERT INTO artifact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
    .run(id, revision, owner, job_id, intent_id, type, sha256, size_bytes, JSON.stringify(artifact));
  for (const [key, value] of Object.entries(artifact.labels))
    database.prepare("INSERT INTO label VALUES (?, ?)").run(`${key}=${value}`, id);
  count(database, owner, size_bytes);
  const known = database.prepare("UPDATE object SET uses = uses + 1 WHERE object = ?").run(object);
  if (known.changes > 0) return;
  database.prepare("INSERT INTO object VALUES (?, ?, 1)").run(object, size_bytes);
  database.prepare("UPDATE total SET bytes = bytes + ?").run(size_bytes);
}

function count(database: DatabaseSync, owner: string, bytes: number): void {
  database
    .prepare("INSERT INTO owner_total VALUES (?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes")
    .run(owner, bytes);
}

function drop(database: DatabaseSync, id: string): void {
  const row = database.prepare("SELECT record FROM artifact WHERE id = ?").get(id);
  if (!row) return;
  const { owner, object, size_bytes } = StoredArtifact.parse(JSON.parse(String(row.record)));
  database.prepare("DELETE FROM artifact WHERE id = ?").run(id);
  database.prepare("DELETE FROM label WHERE id = ?").run(id);
  count(database, owner, -size_bytes);
  database.prepare("UPDATE object SET uses = uses - 1 WHERE object = ?").run(object);
  if (database.prepare("DELETE FROM object WHERE object = ? AND uses = 0").run(object).changes > 0)
    database.prepare("UPDATE total SET bytes = bytes - ?").run(size_bytes);
}

function queries(database: DatabaseSync): Omit<ArtifactIndex, "view" | typeof Symbol.asyncDispose> {
  const one = (sql: string, ...values: SQLInputValue[]) => database.prepare(sql).get(...values);
  return {
    list(filter) {
      const [sql, ...values] = listQuery(filter);
      const rows = database.prepare(sql).all(...values);
      return rows.map((row) => ({
        value: JSON.parse(String(row.record)) as StoredArtifact,
        revision: Number(row.revision),
      }));
    },
    objectOf(sha256) {
      const row = one("SELECT record FROM artifact WHERE sha256 = ? LIMIT 1", sha256);
      return row ? (JSON.parse(String(row.record)) as StoredArtifact) : null;
    },
    isUsed: (object) => one("SELECT 1 FROM object WHERE object = ?", object) !== undefined,
    owns: (owner, sha256) => one("SELECT 1 FROM artifact WHERE sha256 = ? AND owner = ?", sha256, owner) !== undefined,
    totalBytes: () => Number(one("SELECT bytes FROM total")?.bytes ?? 0),
    ownerBytes: (owner) => Number(one("SELECT bytes FROM owner_total WHERE owner = ?", owner)?.bytes ?? 0),
    jobBytes: (owner, jobId) =>
      Number(
        one("SELECT coalesce(sum(size_bytes), 0) AS bytes FROM artifact WHERE job_id = ? AND owner = ?", jobId, owner)
          ?.bytes ?? 0,
      ),
  };
}

/** A page costs what it holds: it is read in order from the index of the first filter, the rest is looked at row by row. */
function listQuery(filter: ArtifactFilter): [string, ...SQLInputValue[]] {
  const where: string[] = [];
  const values: SQLInputValue[] = [];
  const add = (sql: string, value: SQLInputValue | null) => {
    if (value === null) return;
    where.push(sql);
    values.push(value);
  };
  const [pair, ...pairs] = filter.labels;
  add("label.pair = ?", pair ?? null);
  add("job_id = ?", filter.jobId);
  add("sha256 = ?", filter.sha256);
  add("intent_id = ?", filter.intentId);
  add("type = ?", filter.type);
  add("owner = ?", filter.owner);
  add("artifact.id < ?", filter.before);
  for (const more of pairs) add("EXISTS (SELECT 1 FROM label WHERE label.id = artifact.id AND pair = ?)", more);
  const from = pair === undefined ? "artifact" : "label CROSS JOIN artifact ON artifact.id = label.id";
  const order = pair === undefined ? "artifact.id" : "label.id";
  const condition = where.length > 0 ? ` WHERE ${where.join(" AND ")}` : "";
  return [`SELECT record, revision FROM ${from}${condition} ORDER BY ${order} DESC LIMIT ?`, ...values, filter.limit];
}
