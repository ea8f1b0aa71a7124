// A person's line from the terminal, with or without echo. What is read here is an answer of somebody who looks: where stdin
// is no terminal nothing is asked, and an empty line, Ctrl-C, Ctrl-D or a withdrawn question are no answer, never a yes.

import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import type { Output } from "./terminal.ts";

export interface Asker {
  stdin: NodeJS.ReadStream;
  err: Output;
}

export interface LineOptions {
  /** What is typed is not shown, and kept nowhere. */
  hidden?: boolean;
  /** Aborted when the question has lost its sense: another has answered it. */
  signal?: AbortSignal;
}

/** Whether there is a person to ask. */
export function isPerson({ stdin, err }: Asker): boolean {
  return stdin.isTTY === true && err.isTerminal;
}

/** Asks for one line; null where none was given. */
export async function askLine(
  { stdin, err }: Asker,
  prompt: string,
  options: LineOptions = {},
): Promise<string | null> {
  const { hidden = false, signal } = options;
  const output = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      if (!hidden) err.write(chunk);
      done();
    },
  });
  // From here on the terminal echoes nothing by itself: only then may somebody be told to type.
  const lines = createInterface({ input: stdin, output, terminal: true, historySize: 0 });
  if (hidden) err.write(prompt);
  // The terminal hands the key over as a letter: it is the signal again that everybody else knows.
  lines.once("SIGINT", () => {
    lines.close();
    process.kill(process.pid, "SIGINT");
  });
  const closed = new Promise<null>((resolve) => lines.once("close", () => resolve(null)));
  const answered = lines.question(hidden ? "" : prompt, signal ? { signal } : {}).catch((error: unknown) => {
    if (error instanceof Error && error.name === "AbortError") return null;
    throw error;
  });
  try {
    const line = await Promise.race([answered, closed]);
    if (hidden || line === null) err.line();
    return line;
  } finally {
    lines.close();
  }
}
