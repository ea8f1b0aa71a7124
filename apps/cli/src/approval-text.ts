// An approval as a person reads it before answering: who asks for what and why, exactly what would run, where and within which
// limits, and what each answer would allow. Nothing in it may look like something else: words of others are escaped, and a
// command line is an array of quoted words, never a line of shell.
import type { AnswerKind, Approval, Grant, GrantRule, Preview } from "@aether/contracts";
import { formatAgo, formatBytes, formatMs } from "./format.ts";
import type { Output } from "./terminal.ts";
import { alignColumns, shorten, visible } from "./text.ts";

const summaryColumns = 60;
const subjectsShown = 5;

/** The words for answers, on the command line and in prompts. */
export const answerWords = {
  once: "allow_once",
  session: "allow_session",
  always: "allow_always",
  reject: "reject_once",
} as const satisfies Record<string, AnswerKind>;
export type AnswerWord = keyof typeof answerWords;

/** The word for an answer. */
export function wordOf(kind: AnswerKind): AnswerWord {
  const found = Object.entries(answerWords).find(([, one]) => one === kind);
  return (found?.[0] ?? "reject") as AnswerWord;
}

type Field = readonly [string, string | null];

/** Prints all of it. */
export function printApproval(out: Output, approval: Approval): void {
  const { requester } = approval;
  const isAgent = requester.owner !== null && requester.owner !== requester.principal;
  const asker = `${requester.principal}${isAgent ? `, who works for ${requester.owner},` : ""}`;
  out.line(out.paint("bold", `${approval.id}  ${stateWords(approval)}`));
  out.line(`  ${visible(asker)} asks: ${out.paint("bold", visible(approval.ask))}`);
  printFields(out, [
    ...approval.why.map(({ policy, reason }): Field => ["because", `${reason} (${policy})`]),
    ["would", approval.preview.words],
    ...describePreview(approval.preview),
    ...describeSubjects(approval),
    ["intent", approval.intent_id],
    ["asked", `${approval.created_at}, by uid ${requester.uid ?? "unknown"}`],
    [approval.state === "pending" ? "open until" : "usable until", approval.expires_at],
    ["digest", approval.digest],
    ...describeAnswer(approval),
  ]);
}

/** Prints the answers that policy would accept, and what each would allow from then on. */
export function printOptions(out: Output, { options }: Approval): void {
  const rows = options.map(({ kind, rule }) => [`  ${wordOf(kind)}`, rule ? visible(rule.words) : onceWords(kind)]);
  for (const line of alignColumns(rows)) out.line(line);
}

/** One line for a list. */
export function approvalRow(approval: Approval, nowMs: number): string[] {
  const { id, state, requester, action, preview, created_at } = approval;
  const what = preview.kind === "job" ? quoteArgv(preview.argv) : visible(preview.words);
  return [
    ...[id, state, visible(requester.principal), action, shorten(what, summaryColumns)],
    formatAgo(created_at, nowMs),
  ];
}

/** Prints all of a grant. */
export function printGrant(out: Output, grant: Grant): void {
  out.line(out.paint("bold", `${grant.id}  ${grant.scope}`));
  printFields(out, [
    ["allows", grant.rule.words],
    ...describeRule(grant.rule),
    ["said by", `${grant.by}, to ${grant.approval_id}`],
    ["comment", grant.comment],
    ["since", grant.created_at],
    ["until", grant.expires_at],
    ["used", grant.uses === 0 ? "never" : `${grant.uses} times, last ${grant.last_used_at ?? "unknown"}`],
  ]);
}

/** Words in an array, each between quotation marks, so that where one ends and what is in it cannot be mistaken. */
export function quoteArgv(argv: readonly string[]): string {
  return `[${argv.map((word) => visible(JSON.stringify(word))).join(", ")}]`;
}

function stateWords({ state, answered_by, answer }: Approval): string {
  const by = answered_by ? ` by ${answered_by}` : "";
  return visible(state === "pending" ? state : `${state}${by}${answer ? ` (${wordOf(answer)})` : ""}`);
}

function describePreview(preview: Preview): Field[] {
  if (preview.kind === "operation") {
    return Object.entries(preview.request).map(([name, value]): Field => [name, value]);
  }
  const { argv, image, workdir, pool, limits, network, inputs, env, secrets, stdin } = preview;
  return [
    ["runs", quoteArgv(argv)],
    ["image", image],
    ["in", `${workdir}, pool ${pool}`],
    ["limits", Object.entries(limits).map(limitWords).join(", ")],
    ["network", network.length > 0 ? network.join(", ") : "none"],
    ...inputs.map(({ path, artifact, sha256, size_bytes }): Field => {
      return ["input", `${path}: ${artifact}, ${formatBytes(size_bytes)}, sha256 ${sha256}`];
    }),
    ["environment", env.length > 0 ? env.join(", ") : null],
    ["secrets", secrets.length > 0 ? secrets.join(", ") : null],
    ["stdin", stdin && `${formatBytes(stdin.size_bytes)}, ${stdin.sha256}`],
  ];
}

function limitWords([name, value]: [string, string | number]): string {
  if (typeof value === "number" && name.endsWith("_bytes")) return `${name.slice(0, -6)} ${formatBytes(value)}`;
  if (typeof value === "number" && name.endsWith("_ms")) return `${name.slice(0, -3)} ${formatMs(value)}`;
  return `${name} ${value}`;
}

function describeSubjects({ subjects }: Approval): Field[] {
  const names = subjects.slice(0, subjectsShown).map(({ subject }) => subject);
  const more = subjects.length > names.length ? ` and ${subjects.length - names.length} more` : "";
  return [["waits", `${names.join(", ")}${more}`]];
}

function describeAnswer({ answered_at, comment, grant_id, supersedes, uses }: Approval): Field[] {
  return [
    ["answered", answered_at],
    ["comment", comment],
    ["grant", grant_id],
    ["asked before", supersedes],
    ["used", uses.length > 0 ? uses.map(({ subject, attempt }) => `${subject} attempt ${attempt}`).join(", ") : null],
  ];
}

function describeRule({ principal, action, resource, facts, intent_id }: GrantRule): Field[] {
  return [
    ["who", principal],
    ["action", action],
    ["about", `${resource.type}${resource.owner ? ` of ${resource.owner}` : ""}`],
    ...Object.entries(facts).map(([name, value]): Field => {
      const bound = typeof value === "number" ? "at most " : Array.isArray(value) ? "within " : "";
      return [name, bound + JSON.stringify(value)];
    }),
    ["intent", intent_id],
  ];
}

function onceWords(kind: AnswerKind): string {
  return kind === "reject_once" ? "no; nothing is remembered" : "this, once; nothing is remembered";
}

function printFields(out: Output, fields: readonly Field[]): void {
  const rows = fields.flatMap(([name, value]) => (value === null ? [] : [[`  ${visible(name)}`, visible(value)]]));
  for (const line of alignColumns(rows)) out.line(line);
}
