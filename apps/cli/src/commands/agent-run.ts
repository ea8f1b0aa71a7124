// Starts a program as an agent: a job of the caller's whose sandbox has the agent's socket and folder, followed as any job.
import { defineCommand } from "../command.ts";
import { runExits, runJob, runOptions } from "./run.ts";

export const agentRun = defineCommand({
  usage: "agent run [OPTION…] NAME [OPTION…] [--] COMMAND [ARGUMENT…]",
  about: "Run a program as an agent: what it asks of Aether, the agent asks, with the agent's rights",
  options: runOptions,
  operands: { min: 2, max: Number.POSITIVE_INFINITY, name: "NAME and COMMAND" },
  endsAtOperand: true,
  ownOperands: 1,
  outlivesPipe: true,
  notes: [
    "Inside, /run/aether/aetherd.sock (AETHER_SOCKET) is the agent's socket and the only one; /workspace is the agent's folder,\n" +
      "which is there again the next time; there is no network; the agent's limits hold, and options can only lower them.\n" +
      "Where Aether does not run as root there is no disk for the folder: it is memory, and empty each time.",
    "Ctrl-C stops it, a second one kills it, a third one leaves it behind.",
  ],
  examples: [
    "aether agents add scout --memory 512m && aether agent run scout -- python3 - <agent.py -i",
    "aether agent run scout -- curl -s --unix-socket /run/aether/aetherd.sock http://aether/v0/whoami",
  ],
  exits: runExits,
  run(invocation) {
    const [name = "", ...command] = invocation.operands;
    return runJob(invocation, command, { attach: { agent: name } });
  },
});
