// Messages of one subject of a stream: append with the expected predecessor, read from a sequence on, wait for the next one.
// Reading is stateless (direct get in batches): no consumer is made, so a reader that dies leaves nothing behind.
import { ProblemError } from "@aether/contracts";
import { JetStreamApiError } from "@nats-io/jetstream";
import { headers, type Msg } from "@nats-io/transport-node";
import { isWrongSequence, RevisionConflict } from "./bucket.ts";
import type { Bus } from "./connection.ts";

/** There is none any more, or never was. */
const goneCodes: readonly number[] = [10057, 10043];

export interface StoredMessage {
  sequence: number;
  data: Uint8Array;
  /** What a header says; undefined where there is none of that name. */
  header(name: string): string | undefined;
}

export interface AppendOptions {
  /** The pattern of subjects whose last message is meant, instead of the subject's own. */
  among?: string;
  headers?: Readonly<Record<string, string>>;
}

/** Appends behind the last message of a subject, which must have exactly that sequence (0: none); throws RevisionConflict otherwise. */
export async function appendMessage(
  bus: Bus,
  subject: string,
  data: Uint8Array,
  lastSequence: number,
  { among = subject, headers: more = {} }: AppendOptions = {},
): Promise<number> {
  const head = headers();
  for (const [name, value] of Object.entries(more)) head.set(name, value);
  head.set("Nats-Expected-Last-Subject-Sequence", String(lastSequence));
  if (among !== subject) head.set("Nats-Expected-Last-Subject-Sequence-Subject", among);
  try {
    return (await bus.js.publish(subject, data, { headers: head })).seq;
  } catch (error) {
    if (isWrongSequence(error)) throw new RevisionConflict(subject, { cause: error });
    throw error;
  }
}

/** The last message of a subject, which may have wildcards; null where there is none. */
export async function lastMessage(bus: Bus, stream: string, subject: string): Promise<StoredMessage | null> {
  const message = await bus.jsm.direct.getMessage(stream, { last_by_subj: subject });
  return message
    ? { sequence: message.seq, data: message.data, header: (name) => message.header?.get(name) || undefined }
    : null;
}

/** Overwrites one message in the stream's files and removes it; false where it has been gone already. */
export async function eraseMessage(bus: Bus, stream: string, sequence: number): Promise<boolean> {
  try {
    return await bus.jsm.streams.deleteMessage(stream, sequence, true);
  } catch (error) {
    if (error instanceof JetStreamApiError && goneCodes.includes(error.code)) return false;
    throw error;
  }
}

/**
 * Messages of a subject from a stream sequence on, oldest first, until `maxBytes` are reached, one is empty (a removed key's
 * mark), or there are no more: an empty answer says so.
 */
export async function readMessages(
  bus: Bus,
  stream: string,
  subject: string,
  options: { from: number; maxMessages: number; maxBytes: number },
): Promise<StoredMessage[]> {
  const query = {
    seq: Math.max(1, options.from),
    next_by_subj: subject,
    batch: options.maxMessages,
    max_bytes: options.maxBytes,
  };
  const answers = await bus.nats.requestMany(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(query), {
    strategy: "sentinel",
    maxWait: 5_000,
  });
  const found: StoredMessage[] = [];
  let ended = false;
  for await (const answer of answers) {
    ended = isEnd(answer);
    if (ended) continue;
    const header = (name: string) => answer.headers?.get(name) || undefined;
    found.push({ sequence: Number(header("Nats-Sequence")), data: answer.data, header });
  }
  // The client library takes a message without bytes for the end.
  const isMark = found.at(-1)?.data.length === 0;
  if (!ended && !isMark)
    throw new ProblemError("unavailable", { detail: `reading ${stream} was cut short`, retry_after_ms: 200 });
  return found;
}

/** Waits for a message to be published to a subject: a hint that there may be something to read, never the thing itself. */
export async function waitForPublish(
  bus: Bus,
  subject: string,
  options: { timeoutMs: number; signal: AbortSignal },
): Promise<void> {
  const published = Promise.withResolvers<void>();
  const subscription = bus.nats.subscribe(subject, { max: 1, callback: () => published.resolve() });
  const timer = setTimeout(published.resolve, options.timeoutMs);
  const abort = () => published.resolve();
  options.signal.addEventListener("abort", abort, { once: true });
  if (options.signal.aborted) abort();
  await published.promise;
  clearTimeout(timer);
  options.signal.removeEventListener("abort", abort);
  subscription.unsubscribe();
}

/** The empty answer with a status that ends a batch, or says that there is nothing. */
function isEnd(answer: Msg): boolean {
  const code = answer.headers?.code ?? 0;
  if (code === 204 || code === 404) return true;
  if (code >= 400) throw new Error(`direct get: ${code} ${answer.headers?.description}`);
  return false;
}
