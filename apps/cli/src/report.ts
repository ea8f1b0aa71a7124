// An error, told to a person: what happened, why, what to do next, and on the last line the request id that the service's
// log knows it by. With --json the problem document itself, or what there is of one. Answers the exit code.
import type { ProblemError } from "@aether/contracts";
import { exitCodeOfStatus, exitCodes, Failure, UsageError } from "./failure.ts";
import { type Output, printJsonLine } from "./terminal.ts";
import { visible, visibleLines } from "./text.ts";

export interface ReportOptions {
  /** Name of the command, where it is known. */
  command: string | undefined;
  json: boolean;
}

/** Tells what went wrong and answers the exit code for it. */
export async function reportError(err: Output, error: unknown, { command, json }: ReportOptions): Promise<number> {
  const tell = (title: string, details: readonly string[], next?: string) =>
    json ? printJsonLine(err, { title, detail: details.join("\n"), next }) : printError(err, title, details, next);
  if (error instanceof UsageError) {
    tell(visible(error.message), [], `see \`aether${command ? ` ${command}` : ""} --help\``);
    return exitCodes.usage;
  }
  if (error instanceof Failure) {
    const [title = "", ...details] = visibleLines(error.message).split("\n");
    tell(title, details, error.next);
    return error.exitCode;
  }
  if (error instanceof Error && error.name === "ConnectError") {
    tell(visible(error.message), []);
    return exitCodes.unavailable;
  }
  const { ProblemError } = await import("@aether/contracts");
  if (error instanceof ProblemError) return reportProblem(err, error, json);
  tell(visible(error instanceof Error ? error.message : String(error)), causes(error));
  return exitCodes.broken;
}

async function reportProblem(err: Output, error: ProblemError, json: boolean): Promise<number> {
  const { problems } = await import("@aether/contracts");
  const { problem, slug } = error;
  if (json) printJsonLine(err, problem);
  else {
    const { decision, errors } = problem;
    const faults = errors?.map(({ path, message }) => (path ? `${path}: ${message}` : message));
    const verb = decision?.outcome === "ask" ? "a person is asked" : "denied";
    const details = decision
      ? [decision.reason, `${verb} by ${decision.policies.join(", ") || "default: no policy allows it"}`]
      : (faults ?? [problem.detail ?? ""]);
    const next = problem.approval_id
      ? `after \`aether approvals answer ${visible(problem.approval_id)}\` the same again`
      : nextStep(slug, problems[slug].mend);
    printError(err, visible(problem.title), details.filter(Boolean).map(visible), next);
    const id = problem.instance?.replace("urn:aether:request:", "");
    if (id) err.line(`  request ${visible(id)}`);
  }
  return exitCodeOfStatus(problem.status);
}

/** The catalogue speaks to programs; where the command line has shown it already, it says what a person may do. */
function nextStep(slug: string, mend: string): string {
  if (slug === "policy-denied") return "ask for less, or have an operator change that policy";
  if (slug === "invalid-request") return "correct what is named above";
  return mend;
}

function causes(error: unknown): string[] {
  const found: string[] = [];
  for (let at = error; at instanceof Error && at.cause instanceof Error; at = at.cause)
    found.push(visible(at.cause.message));
  return found;
}

function printError(err: Output, title: string, details: readonly string[], next?: string): void {
  err.line(`${err.paint("red", "aether:")} ${title}`);
  for (const detail of details) err.line(`  ${detail}`);
  if (next) err.line(`  ${err.paint("dim", "→")} ${next}`);
}
