import { setTimeout } from "node:timers/promises";
import type { Layout } from "@aether/contracts";
import { defineCommand, type Options } from "../command.ts";
import { describeProcesses, endDaemon, findDaemon, startDaemon, waitUntilHealthy } from "../daemon.ts";
import { exitCodes, Failure } from "../failure.ts";
import { formatMs } from "../format.ts";
import { printHealth } from "../health-table.ts";
import { interrupted } from "../interrupt.ts";
import { createProgress } from "../progress.ts";
import { type Output, printJson } from "../terminal.ts";

const healthyWithinMs = 60_000;
export const endWithinMs = 60_000;

const options = {
  detach: { type: "flag", short: "d", about: "Leave it running and return when it is healthy" },
} as const satisfies Options;

export const up = defineCommand({
  usage: "up [-d]",
  about: "Start Aether on this machine: the bus, every service, a worker",
  options,
  operands: { min: 0, max: 0, name: "" },
  notes: ["In the foreground, Ctrl-C ends it."],
  examples: ["aether up", "aether up -d --home ~/aether", "sudo aether up -d"],
  async run({ values, json, terminal, env, layout: findLayout }) {
    const layout = await findLayout();
    const running = findDaemon(layout);
    if (running !== null) throw alreadyRunning(running, layout);
    const startedAt = performance.now();
    using ctrlC = interrupted();
    using progress = createProgress(terminal.err);
    progress.say("starting the bus, the services and a worker");
    using daemon = startDaemon(layout, env);
    const healthy = waitUntilHealthy(layout, daemon, healthyWithinMs);
    const health = await Promise.race([healthy, ctrlC.pressed]).catch(async (error: unknown) => {
      await endDaemon(daemon.pid, endWithinMs);
      throw error;
    });
    progress.clear();
    if (health !== "interrupted") {
      if (json) printJson(terminal.out, { pid: daemon.pid, socket: layout.socket, home: layout.home, health });
      else {
        printStarted(terminal.out, layout, performance.now() - startedAt);
        printHealth(terminal.out, health, "  ");
      }
      if (values.detach) return exitCodes.done;
      if (!json) terminal.out.line("\nCtrl-C ends it");
      const end = await Promise.race([daemon.ended, ctrlC.pressed]);
      if (end !== "interrupted") {
        throw new Failure([`aetherd ended (${end})`, ...daemon.lastWords()].join("\n"), { exitCode: exitCodes.broken });
      }
    }
    progress.say("ending");
    await endDaemon(daemon.pid, endWithinMs);
    await Promise.race([daemon.ended, setTimeout(1000)]);
    progress.clear();
    if (!json) terminal.out.line("ended");
    return exitCodes.done;
  },
});

function alreadyRunning(pid: number, layout: Layout): Failure {
  return new Failure(`Aether already runs here (pid ${pid}, ${layout.socket})`, {
    exitCode: exitCodes.conflict,
    next: "`aether health` shows it, `aether down` ends it, --home DIR starts another one",
  });
}

function printStarted(out: Output, layout: Layout, ms: number): void {
  out.line(`${out.paint("green", "✓")} Aether is up after ${formatMs(ms)}`);
  out.line(`  socket  ${layout.socket}`);
  out.line(`  data    ${layout.dataDir}`);
  out.line(`  log     ${layout.logDir}`);
  out.line(`  runs    ${describeProcesses(layout)}\n`);
}
