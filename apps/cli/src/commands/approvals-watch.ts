// Follows what waits for a person and, on a terminal, asks about one after the other, the oldest first. Two people may watch:
// the first answer counts, and the question of the other is taken away.
import type { Client } from "@aether/client";
import { type Approval, ProblemError } from "@aether/contracts";
import { answerApproval } from "../answer-approval.ts";
import { approvalRow, printApproval } from "../approval-text.ts";
import { type Asker, isPerson } from "../ask-line.ts";
import { defineCommand, type Options } from "../command.ts";
import { Failure } from "../failure.ts";
import { followApprovals } from "../follow-approvals.ts";
import { interrupted } from "../interrupt.ts";
import { createProgress } from "../progress.ts";
import { promptForAnswer } from "../prompt-answer.ts";
import { printJsonLine, type Terminal } from "../terminal.ts";
import { visible } from "../text.ts";

const interruptedCode = 130;

const options = {
  "no-prompt": { type: "flag", about: "Only say what comes and goes" },
} as const satisfies Options;

export const approvalsWatch = defineCommand({
  usage: "approvals watch [OPTION…]",
  about: "Follow what waits for a person's answer; on a terminal, show each and ask",
  options,
  operands: { min: 0, max: 0, name: "" },
  notes: ["Without a terminal, and with --json, nothing is asked: each change is a line. Ctrl-C ends it."],
  exits: [["130", "ended by Ctrl-C"]],
  async run({ values, json, terminal, stdin, connect }) {
    using ctrlC = interrupted();
    const left = new AbortController();
    const asker = { stdin, err: terminal.err };
    const client = await connect();
    const prompts = !json && !values["no-prompt"] && isPerson(asker);
    const watching = prompts
      ? askAbout(client, asker, left.signal)
      : sayWhatChanges(client, terminal, json, left.signal);
    await Promise.race([watching, ctrlC.pressed]);
    left.abort();
    return interruptedCode;
  },
});

async function sayWhatChanges(client: Client, { out }: Terminal, json: boolean, signal: AbortSignal): Promise<void> {
  for await (const changes of followApprovals(client, signal)) {
    for (const approval of changes) {
      if (json) printJsonLine(out, approval);
      else out.line(approvalRow(approval, Date.now()).join("  "));
    }
    await out.drained();
  }
}

/** Asks until this person leaves: with Ctrl-C, or by ending the input. */
async function askAbout(client: Client, asker: Asker, signal: AbortSignal): Promise<void> {
  using progress = createProgress(asker.err);
  const waiting = new Map<string, Approval>();
  const asking = new Map<string, AbortController>();
  let changed = Promise.withResolvers<void>();
  const follow = async () => {
    for await (const changes of followApprovals(client, signal)) {
      for (const approval of changes) {
        if (approval.state === "pending") waiting.set(approval.id, approval);
        else waiting.delete(approval.id);
        if (approval.state !== "pending") asking.get(approval.id)?.abort(approval);
      }
      changed.resolve();
    }
  };
  const following = follow();
  const passedOver = new Set<string>();
  while (!signal.aborted) {
    const next = [...waiting.values()].find(({ id }) => !passedOver.has(id));
    if (!next) {
      progress.say("nothing waits for you");
      changed = Promise.withResolvers();
      await Promise.race([changed.promise, following]);
      progress.clear();
      continue;
    }
    passedOver.add(next.id);
    const gone = new AbortController();
    asking.set(next.id, gone);
    if ((await askOne(client, asker, next, gone.signal)) === "left") return;
    asking.delete(next.id);
  }
}

/** One question and its answer; what cannot be answered says why, and the next one comes. */
async function askOne(client: Client, asker: Asker, approval: Approval, gone: AbortSignal): Promise<"asked" | "left"> {
  const { err } = asker;
  err.line();
  printApproval(err, approval);
  try {
    const option = await promptForAnswer(asker, approval, gone);
    if (gone.aborted) {
      const { id, state, answered_by } = gone.reason as Approval;
      err.line(`${id} is ${state}${answered_by ? visible(` by ${answered_by}`) : ""}`);
    } else if (option === "left") return "left";
    else if (option === "open") err.line(`${approval.id} stays open`);
    else {
      const told = await answerApproval(client, asker, approval, { option });
      err.line(
        err.paint("green", `${told.id} ${told.state}${told.grant_id ? `, remembered as ${told.grant_id}` : ""}`),
      );
    }
  } catch (error) {
    if (!(error instanceof ProblemError || error instanceof Failure)) throw error;
    err.line(err.paint("red", visible(error.message)));
  }
  return "asked";
}
