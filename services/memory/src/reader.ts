// Reads of the views off the event loop: a search over a hundred thousand entries takes tens of milliseconds, in which
// nothing else of the process would go on. The thread starts with the first read and ends when nobody has read for a
// while. It runs one function that imports nothing: after root was given up the code's folder may be closed to us.
import type { DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";

export type SqlValue = string | number | null | Uint8Array;
export type SqlRow = Record<string, unknown>;

export interface Reader {
  /** All rows that a query answers. */
  all(file: string, sql: string, ...values: SqlValue[]): Promise<SqlRow[]>;
  /** Lets go of a file, before it is replaced or its write-ahead log is cut. */
  release(file: string): Promise<void>;
}

interface Question {
  id: number;
  file: string;
  /** Absent: let go of the file. */
  sql?: string;
  values: SqlValue[];
}
type Answer = { id: number; rows: SqlRow[] } | { id: number; error: string };

const idleMs = 60_000;

/** Makes a reader; nothing is started yet. */
export function createReader(): Reader & AsyncDisposable {
  let thread: Worker | null = null;
  let asked = 0;
  let idle: NodeJS.Timeout | undefined;
  const waiting = new Map<number, { resolve(rows: SqlRow[]): void; reject(error: Error): void }>();

  function start(): Worker {
    const started = new Worker(`(${serveReads})()`, { eval: true, resourceLimits: { maxYoungGenerationSizeMb: 4 } });
    started.on("message", (answer: Answer) => {
      const asker = waiting.get(answer.id);
      waiting.delete(answer.id);
      if ("error" in answer) asker?.reject(new Error(`reading a view: ${answer.error}`));
      else asker?.resolve(answer.rows);
    });
    started.on("error", (error) => fail(started, error));
    started.on("exit", () => fail(started, new Error("the reading thread ended")));
    started.unref();
    return started;
  }

  function fail(ended: Worker, error: Error): void {
    if (thread !== ended) return;
    thread = null;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  }

  function ask(question: Omit<Question, "id">): Promise<SqlRow[]> {
    clearTimeout(idle);
    idle = setTimeout(() => waiting.size === 0 && void end(), idleMs).unref();
    thread ??= start();
    const { promise, resolve, reject } = Promise.withResolvers<SqlRow[]>();
    const id = ++asked;
    waiting.set(id, { resolve, reject });
    thread.postMessage({ id, ...question } satisfies Question);
    return promise;
  }

  async function end(): Promise<void> {
    const ending = thread;
    thread = null;
    await ending?.terminate();
  }

  return {
    all: (file, sql, ...values) => ask({ file, sql, values }),
    async release(file) {
      if (thread) await ask({ file, values: [] });
    },
    async [Symbol.asyncDispose]() {
      clearTimeout(idle);
      await end();
    },
  };
}

/** The thread's code; it sees nothing of this module. */
function serveReads(): void {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const { parentPort } = process.getBuiltinModule("node:worker_threads");
  const files = new Map<
    string,
    { database: DatabaseSync; statements: Map<string, ReturnType<DatabaseSync["prepare"]>> }
  >();

  function open(file: string) {
    const known = files.get(file);
    if (known) return known;
    const database = new DatabaseSync(file, { readOnly: true });
    database.exec("PRAGMA cache_size = -4000; PRAGMA busy_timeout = 2000");
    database.function("similarity", { deterministic: true }, (a, b) => {
      const [one, other] = [a, b].map((bytes) => {
        const { buffer, byteOffset, byteLength } = bytes as Uint8Array;
        return byteOffset % 4 === 0
          ? new Float32Array(buffer, byteOffset, byteLength / 4)
          : new Float32Array((bytes as Uint8Array).slice().buffer);
      }) as [Float32Array, Float32Array];
      let sum = 0;
      for (let i = 0; i < one.length; i++) sum += (one[i] as number) * (other[i] as number);
      return sum;
    });
    const opened = { database, statements: new Map() };
    files.set(file, opened);
    return opened;
  }

  parentPort?.on("message", ({ id, file, sql, values }: Question) => {
    try {
      if (sql === undefined) {
        files.get(file)?.database.close();
        files.delete(file);
        return parentPort.postMessage({ id, rows: [] });
      }
      const { database, statements } = open(file);
      const statement = statements.get(sql) ?? database.prepare(sql);
      if (statements.size < 100) statements.set(sql, statement);
      parentPort.postMessage({ id, rows: statement.all(...values) });
    } catch (error) {
      parentPort.postMessage({ id, error: String(error) });
    }
  });
}
