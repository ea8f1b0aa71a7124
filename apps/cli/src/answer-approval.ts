// One answer to one approval, by a person: with the digest of what was shown, so that nothing else can be answered by it, and,
// where the person has the uid that asked, with the human secret that a program under that uid does not know.
import type { Client } from "@aether/client";
import type { AnswerKind, Approval } from "@aether/contracts";
import type { Asker } from "./ask-line.ts";
import { Failure } from "./failure.ts";
import { readSecret } from "./read-secret.ts";

export interface Answer {
  option: AnswerKind;
  comment?: string | undefined;
  /** Descriptor to read the human secret from, instead of the terminal. */
  secretFd?: string | undefined;
}

/** Sends it and answers the approval as it then is. */
export async function answerApproval(
  client: Client,
  asker: Asker,
  approval: Approval,
  { option, comment, secretFd }: Answer,
): Promise<Approval> {
  const offered = approval.options.some(({ kind }) => kind === option);
  if (approval.state === "pending" && !offered) {
    throw new Failure(`policy does not accept ${option.replaceAll("_", " ")} here`, {
      next: `\`aether approvals show ${approval.id}\` shows what it accepts`,
    });
  }
  const secret = needsSecret(approval, option) || secretFd !== undefined ? await secretOf(asker, secretFd) : undefined;
  return client.approvals.answer(approval, option, { secret, comment });
}

/** A no is anybody's who may answer; a yes to one's own uid proves that it is a person's. */
function needsSecret({ state, requester }: Approval, option: AnswerKind): boolean {
  return state === "pending" && option !== "reject_once" && requester.uid === process.getuid?.();
}

function secretOf(asker: Asker, fd: string | undefined): Promise<string> {
  return readSecret(asker, fd, "Your secret (the request came from your own uid): ");
}
