// Routes of unary operations: one request over the bus, its reply as the answer.
import { type Bus, request } from "@aether/bus";
import {
  Artifact,
  getJob,
  isTerminal,
  Job,
  killJob,
  limits,
  type Operation,
  requireDurationMs,
  stopJob,
} from "@aether/contracts";
import { type Exchange, writeJson } from "@aether/http";
import type { Logger } from "@aether/telemetry";
import { ask, untilGone } from "./ask.ts";
import { type CallEnvelope, type CallInput, readInput } from "./call.ts";

export interface OperationCall {
  operation: Operation;
  params: Record<string, string>;
  search: URLSearchParams;
  envelope: CallEnvelope;
}

export interface OperationContext {
  bus: Bus;
  log: Logger;
  /** Aborted when the gateway ends: waits answer what they have. */
  closing: AbortSignal;
}

/** Answers one request for an operation; throws ProblemError. */
export async function answerOperation(
  context: OperationContext,
  exchange: Exchange,
  call: OperationCall,
): Promise<void> {
  const { operation, envelope } = call;
  const { input, query, bytes } = await readInput(exchange.request, operation, call.params, call.search);
  const options = { envelope, timeoutMs: timeoutOf(operation, input), ...(bytes && { bytes }) };
  const { reply } = await request(context.bus, operation, input, options).finally(() => bytes?.fill(0));
  if (operation.creates === "art") exchange.response.setHeader("Location", `/v0/artifacts/${Artifact.parse(reply).id}`);
  if (operation.creates === "job") return answerCreated(context, exchange, Job.parse(reply), { envelope, query });
  if (operation.creates) exchange.response.setHeader("Location", `/v0${operation.http?.path}/${idOf(reply)}`);
  writeJson(exchange.response, statusOf(operation, reply), reply);
}

/** 201 with the record as it was made; with `wait` as it is when the job has ended or the time is up. */
async function answerCreated(
  context: OperationContext,
  { response }: Exchange,
  made: Job,
  { envelope, query }: { envelope: CallEnvelope; query: CallInput["query"] },
): Promise<void> {
  let job = made;
  if (typeof query.wait === "string" && !isTerminal(made.state)) {
    const signal = untilGone(response, context.closing);
    const options = { envelope: withoutKey(envelope), timeoutMs: waitTimeoutMs(query.wait), signal };
    try {
      job = (await ask(context.bus, getJob, { id: made.id, wait: query.wait }, options)).reply;
    } catch (error) {
      // The job exists: whatever became of the wait, its submitter gets its id.
      if (!signal.aborted)
        context.log.warn({ err: error, request_id: envelope.request_id, job_id: made.id }, "wait failed");
    }
  }
  response.setHeader("Location", `/v0/jobs/${made.id}`);
  writeJson(response, 201, job);
}

const idOf = (reply: unknown) => (reply as { id: string }).id;

/** Stop and kill are accepted and go on, or had nothing left to do. */
function statusOf(operation: Operation, reply: unknown): number {
  const ends = operation.name === stopJob.name || operation.name === killJob.name;
  if (ends && isTerminal(Job.parse(reply).state)) return 200;
  return operation.http?.status ?? 200;
}

function timeoutOf(operation: Operation, input: Record<string, unknown>): number {
  if (operation.name === getJob.name) return waitTimeoutMs(input.wait);
  return operation.timeoutMs ?? limits.requestDeadlineMs;
}

function waitTimeoutMs(wait: unknown): number {
  return limits.requestDeadlineMs + (typeof wait === "string" ? requireDurationMs(wait) : 0);
}

function withoutKey({ idempotency_key: _, ...envelope }: CallEnvelope): CallEnvelope {
  return envelope;
}
