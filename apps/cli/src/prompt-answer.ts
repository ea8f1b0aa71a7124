// The question itself, on a terminal. Enter alone is no answer, and no key stands for a yes that lasts: a whole word does.
import type { AnswerKind, Approval } from "@aether/contracts";
import { type AnswerWord, answerWords, printOptions, wordOf } from "./approval-text.ts";
import { type Asker, askLine } from "./ask-line.ts";
import { shorten, visible } from "./text.ts";

/** The answer that a person typed; `open` where he leaves it to later, `left` where he goes or the question does. */
export async function promptForAnswer(
  asker: Asker,
  approval: Approval,
  signal?: AbortSignal,
): Promise<AnswerKind | "open" | "left"> {
  const { err } = asker;
  err.line(`\n${err.paint("bold", "Answers")}`);
  printOptions(err, approval);
  const words = approval.options.map(({ kind }) => wordOf(kind));
  const prompt = `\n${words.join(", ")}, or nothing to leave it open › `;
  for (;;) {
    const line = (await askLine(asker, prompt, signal ? { signal } : {}))?.trim();
    if (line === undefined) return "left";
    if (line === "") return "open";
    if (words.includes(line as AnswerWord)) return answerWords[line as AnswerWord];
    err.line(`'${visible(shorten(line, 20))}' is none of them`);
  }
}
