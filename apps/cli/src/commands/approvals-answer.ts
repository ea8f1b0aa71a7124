import { type AnswerKind, type Approval, ProblemError } from "@aether/contracts";
import { answerApproval } from "../answer-approval.ts";
import { type AnswerWord, answerWords, printApproval } from "../approval-text.ts";
import { isPerson } from "../ask-line.ts";
import { defineCommand, type Options, type Values } from "../command.ts";
import { exitCodes, UsageError } from "../failure.ts";
import type { Invocation } from "../invocation.ts";
import { promptForAnswer } from "../prompt-answer.ts";
import { printJson } from "../terminal.ts";

const common = {
  comment: { type: "text", value: "TEXT", about: "Why, for those who read it later" },
  digest: { type: "text", value: "DIGEST", about: "Only if it still is the approval with this digest" },
  "secret-fd": { type: "text", value: "N", about: "Read the human secret from this descriptor, not from the terminal" },
} as const satisfies Options;
const leftOpen = 130;
const exits = [[String(leftOpen), "left without an answer"]] as const;

export const approvalsAnswer = defineCommand({
  usage: "approvals answer [OPTION…] ID [once|session|always|reject]",
  about: "Answer an approval; without a word, show it and ask, which needs a terminal",
  options: common,
  operands: { min: 1, max: 2, name: "ID" },
  notes: [
    "once: this job with its own retries, or this request; nothing is remembered. session: what `show` says under it, for this\n" +
      "intent. always: the same for any intent, until its grant ends or `aether grants rm` takes it back. reject: no.",
    "Where the request came from your own uid, a secret that only you know is needed: `aether approvals secret`.",
  ],
  examples: [
    "aether approvals answer apr_01k… once",
    "aether approvals answer apr_01k… reject --comment 'use the mirror'",
  ],
  exits,
  async run(invocation) {
    const word = invocation.operands[1];
    if (word !== undefined && !(word in answerWords))
      throw new UsageError(`'${word}' is no answer: ${Object.keys(answerWords).join(", ")}`);
    const option = word === undefined ? null : answerWords[word as AnswerWord];
    return answer(invocation, invocation.operands.slice(0, 1), option);
  },
});

export const approvalsAllow = defineCommand({
  usage: "approvals allow [OPTION…] ID…",
  about: "Say yes: once, where nothing else is said",
  options: {
    session: { type: "flag", about: "For this intent" },
    always: { type: "flag", about: "Until its grant ends" },
    ...common,
  },
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ID" },
  exits,
  async run(invocation) {
    const { session, always } = invocation.values;
    if (session && always) throw new UsageError("--session or --always, not both");
    const option = always ? "allow_always" : session ? "allow_session" : "allow_once";
    return answer(invocation, invocation.operands, option);
  },
});

export const approvalsDeny = defineCommand({
  usage: "approvals deny [OPTION…] ID…",
  about: "Say no",
  options: common,
  operands: { min: 1, max: Number.POSITIVE_INFINITY, name: "ID" },
  async run(invocation) {
    return answer(invocation, invocation.operands, "reject_once");
  },
});

async function answer(
  { values, json, terminal, stdin, connect }: Invocation<Values<typeof common>>,
  ids: readonly string[],
  option: AnswerKind | null,
): Promise<number> {
  const asker = { stdin, err: terminal.err };
  if (option === null && !isPerson(asker))
    throw new UsageError("Without a terminal to ask on, say the answer: once, session, always or reject");
  const { comment, digest, "secret-fd": secretFd } = values;
  const client = await connect();
  for (const id of ids) {
    const approval = await client.approvals.get(id);
    requireSame(approval, digest);
    if (option === null) {
      printApproval(terminal.err, approval);
      if (approval.state !== "pending")
        throw new ProblemError("conflict", { detail: `it is ${approval.state} already` });
    }
    const chosen = option ?? (await promptForAnswer(asker, approval));
    if (chosen === "open" || chosen === "left") return leftOpen;
    const told = await answerApproval(client, asker, approval, { option: chosen, comment, secretFd });
    if (json) printJson(terminal.out, told);
    else terminal.out.line(`${id} ${told.state}${told.grant_id ? `, remembered as ${told.grant_id}` : ""}`);
  }
  return exitCodes.done;
}

function requireSame(approval: Approval, digest: string | undefined): void {
  if (digest !== undefined && digest !== approval.digest)
    throw new ProblemError("conflict", { detail: `${approval.id} is about ${approval.digest}, not ${digest}` });
}
