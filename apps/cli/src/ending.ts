// Ctrl-C while a job is followed: the first stops the job, the second kills it, the third leaves it behind. A SIGTERM to
// this process counts as one. When nobody reads the output any more the job is stopped too, as any program in a pipe ends.
import type { Client } from "@aether/client";
import { exitCodes } from "./failure.ts";
import { retryWhileAway } from "./patience.ts";
import type { Progress } from "./progress.ts";
import type { Terminal } from "./terminal.ts";
import { visible } from "./text.ts";

const interrupted = 130; // 128 + SIGINT
const askForMs = 10_000;

export interface Ending extends Disposable {
  /** Now there is a job to end. */
  begin(id: string): void;
  /** Settles when this process is to end before its job. */
  readonly exitCode: Promise<number>;
  /** Aborted at the same time. */
  readonly left: AbortSignal;
}

/** Listens from now on; disposing it gives the signals back. */
export function createEnding(client: Client, { err, closed }: Terminal, progress: Progress): Ending {
  const left = new AbortController();
  const leaving = Promise.withResolvers<number>();
  let presses = 0;
  let jobId: string | undefined;

  const leave = (code: number) => {
    leaving.resolve(code);
    left.abort();
  };
  const say = (text: string) => {
    progress.clear();
    err.line(`aether: ${text}`);
  };
  const ask = async (act: () => Promise<unknown>) => {
    try {
      await retryWhileAway(act, askForMs);
    } catch (error) {
      say(`that failed: ${visible(error instanceof Error ? error.message : String(error))}`);
    }
  };
  const press = () => {
    presses += 1;
    const id = jobId;
    if (presses >= 3 || (presses === 2 && id === undefined)) {
      if (id) say(`left behind: ${id}; \`aether kill ${id}\` ends it`);
      // Without an id nothing is known that could be waited for.
      else process.exit(interrupted);
      return leave(interrupted);
    }
    if (id === undefined) return say("stopping it as soon as it is accepted; Ctrl-C again leaves it");
    if (presses === 1) {
      say(`stopping ${id}; Ctrl-C again kills it`);
      void ask(() => client.jobs.stop(id));
    } else {
      say(`killing ${id}; Ctrl-C again leaves it behind`);
      void ask(() => client.jobs.kill(id));
    }
  };
  const abandon = () => {
    const id = jobId;
    if (id === undefined) return; // `begin` looks again
    void ask(() => client.jobs.stop(id)).then(() => leave(exitCodes.pipeClosed));
  };

  process.on("SIGINT", press);
  process.on("SIGTERM", press);
  closed.addEventListener("abort", abandon);
  return {
    exitCode: leaving.promise,
    left: left.signal,
    begin(id) {
      jobId = id;
      if (closed.aborted) abandon();
      else if (presses > 0) void ask(() => client.jobs.stop(id));
    },
    [Symbol.dispose]() {
      process.off("SIGINT", press);
      process.off("SIGTERM", press);
      closed.removeEventListener("abort", abandon);
    },
  };
}
