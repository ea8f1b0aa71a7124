// One daemon per layout. The lock is an exclusive one inside a file, taken through SQLite because that is the one lock of
// the kernel's that Node can take: it ends with the process, however that ended, so there is no stale lock to judge.
import { DatabaseSync } from "node:sqlite";
import type { Layout } from "@aether/contracts";
import { readState } from "./state.ts";

const sqliteBusy = 5;

/** Another daemon serves this layout. */
class AlreadyRunningError extends Error {
  constructor(layout: Layout) {
    const pid = readState(layout)?.pid;
    const holder = pid === undefined ? "another aetherd" : `aetherd with pid ${pid}`;
    super(`${holder} already runs here and holds ${layout.lockFile}; end it with \`aether down\``);
    this.name = "AlreadyRunningError";
  }
}

/** Takes the layout for this process; throws AlreadyRunningError when it is taken. */
export function takeLock(layout: Layout): Disposable {
  const umask = process.umask(0o077);
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(layout.lockFile, { timeout: 0 });
    lock.exec("PRAGMA journal_mode=DELETE; BEGIN EXCLUSIVE");
    const held = lock;
    return { [Symbol.dispose]: () => held.close() };
  } catch (error) {
    lock?.close();
    if (error instanceof Error && "errcode" in error && error.errcode === sqliteBusy) {
      throw new AlreadyRunningError(layout);
    }
    throw new Error(`cannot lock ${layout.lockFile}`, { cause: error });
  } finally {
    process.umask(umask);
  }
}
