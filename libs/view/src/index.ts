// A stream as a disposable SQLite file. The stream is the truth; the view answers lists and searches. The file remembers how
// far it has read and which stream that was (its creation time); when the file is missing, broken, of another layout or of
// another stream, it is thrown away and read anew.
//
// A process may be killed in the middle of a write: the write-ahead log keeps the file whole. Nothing is synced, so a file that
// an earlier boot of the machine left may be damaged in ways that nobody notices, and is read anew as well.
import { readFileSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { type Bus, startTail, streamState, type TailMessage } from "@aether/bus";

export interface ViewOptions {
  bus: Bus;
  /** File of the view; its folder exists. */
  file: string;
  stream: string;
  subject: string;
  /** Tables and indices; a changed text rebuilds the file. */
  layout: string;
  /** How many messages may be on their way at a time; fewer where they are large. */
  inFlight?: number;
  /** Between two transactions; a reader waits that much longer for the newest. */
  gatherMs?: number;
  /** What is forgotten is overwritten in the file. */
  erases?: boolean;
  /** Puts one message into the tables; runs inside a transaction. */
  apply(database: DatabaseSync, message: TailMessage): void;
  /** Called after messages were committed to the file. */
  onChange?(): void;
}

export interface View extends AsyncDisposable {
  readonly database: DatabaseSync;
  /** Sequence of the last message that the tables hold. */
  readonly sequence: number;
  /** Waits until the view holds this sequence; false when the time is up. */
  reach(sequence: number, timeoutMs: number): Promise<boolean>;
}

/** Opens the view and follows the stream; resolves when it has caught up with what the stream held at that moment. */
export async function openView(options: ViewOptions): Promise<View> {
  const { created, lastSequence } = await streamState(options.bus, options.stream);
  const { database, from } = openFile(options, created, lastSequence);
  const state = { sequence: from };
  const waiting = new Set<() => void>();
  const remember = database.prepare("UPDATE view SET sequence = ?");
  const tail = startTail(options.bus, {
    stream: options.stream,
    subject: options.subject,
    from: from + 1,
    inFlight: options.inFlight,
    gatherMs: options.gatherMs,
    onMessages(messages) {
      database.exec("BEGIN");
      try {
        for (const message of messages) options.apply(database, message);
        state.sequence = messages.at(-1)?.sequence ?? state.sequence;
        remember.run(state.sequence);
        database.exec("COMMIT");
      } catch (error) {
        database.exec("ROLLBACK");
        throw error;
      }
      for (const check of waiting) check();
      options.onChange?.();
    },
  });
  const view: View = {
    database,
    get sequence() {
      return state.sequence;
    },
    reach(sequence, timeoutMs) {
      if (state.sequence >= sequence) return Promise.resolve(true);
      return new Promise((resolve) => {
        const end = (reached: boolean) => {
          clearTimeout(timer);
          waiting.delete(check);
          resolve(reached);
        };
        const check = () => state.sequence >= sequence && end(true);
        const timer = setTimeout(() => end(false), timeoutMs);
        waiting.add(check);
      });
    },
    async [Symbol.asyncDispose]() {
      await tail[Symbol.asyncDispose]();
      database.close();
    },
  };
  const newest = await newestOf(options, lastSequence);
  if (!(await view.reach(newest, 60_000))) {
    await view[Symbol.asyncDispose]();
    throw new Error(`the view of ${options.stream} did not catch up within a minute`);
  }
  return view;
}

/** Sequence of the newest message the view will see: the stream's last one may have been removed or be of another subject. */
async function newestOf(options: ViewOptions, lastSequence: number): Promise<number> {
  if (lastSequence === 0) return 0;
  const newest = await options.bus.jsm.direct.getMessage(options.stream, { last_by_subj: options.subject });
  return newest?.seq ?? 0;
}

function openFile(
  options: ViewOptions,
  created: string,
  lastSequence: number,
): { database: DatabaseSync; from: number } {
  const kept = openKept(options, created, lastSequence);
  if (kept) return kept;
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(options.file + suffix, { force: true });
  const database = openDatabase(options);
  database.exec(
    `CREATE TABLE view (stream_created TEXT, layout TEXT, boot_id TEXT, sequence INTEGER); ${options.layout}`,
  );
  database.prepare("INSERT INTO view VALUES (?, ?, ?, 0)").run(created, options.layout, bootId());
  return { database, from: 0 };
}

function openKept(
  options: ViewOptions,
  created: string,
  lastSequence: number,
): { database: DatabaseSync; from: number } | null {
  let database: DatabaseSync | null = null;
  try {
    database = openDatabase(options);
    const row = database.prepare("SELECT stream_created, layout, boot_id, sequence FROM view").get();
    const isSame = row?.stream_created === created && row.layout === options.layout && row.boot_id === bootId();
    if (isSame && Number(row.sequence) <= lastSequence) {
      return { database, from: Number(row.sequence) };
    }
  } catch {
    // A missing table or a damaged file: the view is made anew.
  }
  database?.close();
  return null;
}

function openDatabase({ file, erases }: ViewOptions): DatabaseSync {
  const database = new DatabaseSync(file);
  if (erases) database.exec("PRAGMA secure_delete = ON");
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000");
  return database;
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
