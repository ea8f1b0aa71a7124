import { defineCommand } from "../command.ts";
import { exitCodeOfJob } from "../exit-code.ts";
import { exitCodes } from "../failure.ts";
import { waitForEnd } from "../patience.ts";
import { createProgress } from "../progress.ts";
import { printJsonLine } from "../terminal.ts";

export const wait = defineCommand({
  usage: "wait JOB…",
  about: "Wait until jobs have ended, print the exit code of each and exit with that of the last",
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "JOB" },
  notes: ["With --json: the record of each job, one a line."],
  async run({ operands, json, terminal, connect }) {
    const client = await connect();
    using progress = createProgress(terminal.err);
    let exitCode: number = exitCodes.done;
    for (const id of operands) {
      progress.say(`waiting for ${id}`);
      const job = await waitForEnd(client, id);
      progress.clear();
      exitCode = exitCodeOfJob(job);
      if (json) printJsonLine(terminal.out, job);
      else terminal.out.line(String(exitCode));
    }
    return exitCode;
  },
});
