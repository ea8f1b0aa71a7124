import { defineCommand } from "../command.ts";
import { endDaemon, findDaemon } from "../daemon.ts";
import { exitCodes } from "../failure.ts";
import { createProgress } from "../progress.ts";
import { printJson } from "../terminal.ts";
import { endWithinMs } from "./up.ts";

export const down = defineCommand({
  usage: "down",
  about: "End Aether on this machine and wait until all of it has ended; running jobs end with it, queued ones wait",
  options: {},
  operands: { min: 0, max: 0, name: "" },
  async run({ json, terminal, layout: findLayout }) {
    const layout = await findLayout();
    const pid = findDaemon(layout);
    using progress = createProgress(terminal.err);
    if (pid !== null) {
      progress.say("ending");
      await endDaemon(pid, endWithinMs);
      progress.clear();
    }
    if (json) printJson(terminal.out, { ended: pid });
    else terminal.out.line(pid === null ? `nothing runs here (${layout.runDir})` : "ended");
    return exitCodes.done;
  },
});
