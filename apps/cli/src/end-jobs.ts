// `stop` and `kill` of several jobs: all are asked first, then waited for; one that fails keeps the others from nothing.
import type { Client } from "@aether/client";
import type { Job } from "@aether/contracts";
import type { Options } from "./command.ts";
import { exitCodes } from "./failure.ts";
import type { Invocation } from "./invocation.ts";
import { waitForEnd } from "./patience.ts";
import { createProgress } from "./progress.ts";
import { reportError } from "./report.ts";
import { printJsonLine } from "./terminal.ts";

export const waitingOptions = {
  "no-wait": { type: "flag", about: "Return when it was asked for" },
} as const satisfies Options;

/** Asks for the end of each job, prints its id (or its record), and answers the exit code of the first that failed. */
export async function endJobs(
  { values, operands, json, terminal, connect }: Invocation<{ readonly "no-wait": boolean }>,
  end: (client: Client, id: string) => Promise<Job>,
): Promise<number> {
  const client = await connect();
  using progress = createProgress(terminal.err);
  progress.say(`waiting for the end of ${operands.length === 1 ? operands[0] : `${operands.length} jobs`}`);
  const asked = operands.map(async (id) => {
    const job = await end(client, id);
    return values["no-wait"] ? job : waitForEnd(client, id);
  });
  let exitCode: number = exitCodes.done;
  for (const ending of await Promise.allSettled(asked)) {
    progress.clear();
    if (ending.status === "fulfilled") {
      if (json) printJsonLine(terminal.out, ending.value);
      else terminal.out.line(ending.value.id);
    } else {
      exitCode ||= await reportError(terminal.err, ending.reason, { command: undefined, json });
    }
  }
  return exitCode;
}
