// Questions that need a person, asked as the jobs service asks them, and their answers, given through the gateway.
import { createHash } from "node:crypto";
import { type Bus, request } from "@aether/bus";
import {
  type AnswerKind,
  type Approval,
  answerApproval,
  createId,
  type DecideReply,
  type DecideRequest,
  type DecisionContext,
  getApproval,
  type Operation,
  type Preview,
  type Principal,
  ProblemError,
  type Reply,
  revokeApproval,
} from "@aether/contracts";
import type { z } from "zod";
import { ask } from "./_fixture.ts";

export const agent: Principal = { type: "Agent", id: "aurora", roles: ["agent"], owner: "user:1000", uid: 61_001 };
/** More than an agent may by itself. */
export const large: DecisionContext = { network: "none", cpus_milli: 4000, memory_bytes: 2 ** 30, timeout_ms: 1000 };

export const digestOf = (what: string) => `sha256:${createHash("sha256").update(what).digest("hex")}`;

export function previewOf(argv: string[]): Preview {
  return {
    ...{ kind: "job", words: `run ${argv[0]}`, argv, image: null, workdir: "/workspace", pool: "default" },
    ...{ limits: { cpus: 4 }, network: [], inputs: [], env: [], secrets: [], stdin: null },
  };
}

export interface Start {
  job?: string;
  attempt?: number;
  /** What would run. */
  what?: string;
  /** Of it, where it is known. */
  digest?: string;
  mode?: "ask" | "consume";
  principal?: Principal;
  context?: DecisionContext;
  intent?: string | null;
  preview?: Preview;
}

/** Asks whether a job may start, as the jobs service does. */
export function askStart(jobs: Bus, start: Start = {}): Promise<DecideReply> {
  return ask(jobs, toQuestion(start));
}

export function toQuestion(start: Start): Partial<DecideRequest> {
  const { job = createId("job"), attempt = 1, what = "python x.py", mode = "consume", principal = agent } = start;
  return {
    principal,
    action: "start_job",
    resource: { type: "Job", id: job, owner: `${principal.type.toLowerCase()}:${principal.id}`, labels: {} },
    context: { ...(start.context ?? large), attempt },
    job_id: job,
    intent_id: start.intent ?? null,
    digest: start.digest ?? digestOf(what),
    ask: { mode, subject: job, attempt, preview: start.preview ?? previewOf(what.split(" ")) },
  };
}

/** Calls an operation as somebody does through the gateway. */
export async function callAs<In extends z.ZodType, Out extends z.ZodType>(
  gateway: Bus,
  principal: Principal,
  operation: Operation<In, Out>,
  input: z.input<In>,
  timeoutMs?: number,
): Promise<z.infer<Out>> {
  const envelope = { request_id: createId("req"), principal };
  return (await request(gateway, operation, input, { envelope, ...(timeoutMs && { timeoutMs }) })).reply;
}

export const read = (gateway: Bus, principal: Principal, id: string): Promise<Approval> =>
  callAs(gateway, principal, getApproval, { id });

export async function answer(
  gateway: Bus,
  principal: Principal,
  id: string,
  option: AnswerKind,
  more: { secret?: string; comment?: string; digest?: string } = {},
): Promise<Reply<typeof answerApproval>> {
  const digest = more.digest ?? (await read(gateway, principal, id)).digest;
  return callAs(gateway, principal, answerApproval, { id, option, ...more, digest });
}

export const revoke = (gateway: Bus, principal: Principal, id: string): Promise<Approval> =>
  callAs(gateway, principal, revokeApproval, { id });

/** What a call is refused with, as `409 detail`. */
export async function refusal(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ProblemError)) return error === null ? "not refused" : String(error);
  return `${error.problem.status} ${error.problem.detail ?? ""}`;
}
