// Mixed writes by several clients at once, each tried with its Idempotency-Key until it is acknowledged, and a ledger of what
// was acknowledged: what the system must hold afterwards, whatever died meanwhile, and nothing else. Some writes are broken
// off on purpose: of those nothing may be left.
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Client, createClient, createUnixTransport } from "@aether/client";
import { isTerminal, limits, ProblemError } from "@aether/contracts";
import type { Aether } from "../_aether.ts";

export interface Ledger {
  /** By artifact id: its name and the digest of its bytes; the text of a job's output has one as well. */
  artifacts: Map<string, { name: string; sha256: string }>;
  /** Artifacts that were deleted. */
  removed: Set<string>;
  /** By entry id. */
  entries: Map<string, { text: string; supersedes: string | null }>;
  /** The same of those that are forgotten: whose place they took stays taken. */
  forgotten: Map<string, string | null>;
  /** By event id, the sequence that was answered. */
  events: Map<string, string>;
  /** By job id, what its output says. */
  jobs: Map<string, string>;
  /** Names of uploads that were broken off. */
  broken: Set<string>;
  /** Why requests were sent again: passing failures, and answers that did not come. */
  retries: string[];
}

export interface Writes {
  ledger: Ledger;
  /** How many are done. */
  readonly done: number;
  over: Promise<void>;
}

const clients = 6;
/** How long an answer is waited for: a killed service leaves its requests without one, which takes the gateway longer to say. */
const tryMs = 2_000;
const patienceMs = 30_000;
const small = { cpus: 0.25, memory: "64MiB", disk: "64MiB" };
const sizes = [0, 1, 1_000, limits.chunkBytes, limits.chunkBytes + 1, 5 * limits.chunkBytes + 7];
export const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

interface Writer {
  aether: Aether;
  client: Client;
  ledger: Ledger;
  /** Labels everything of one round. */
  round: string;
  /** Bytes that are stored again and again. */
  contents: Buffer[];
}

/** One kind of write; the number is its own in the round. */
type Write = (writer: Writer, number: number) => Promise<void>;

/** Begins so many writes; the mix of a round is always the same. */
export function startWrites(aether: Aether, round: string, count: number): Writes {
  const ledger: Ledger = {
    artifacts: new Map(),
    removed: new Set(),
    entries: new Map(),
    forgotten: new Map(),
    events: new Map(),
    jobs: new Map(),
    broken: new Set(),
    retries: [],
  };
  const contents = sizes.map((size) => randomBytes(size));
  const state = { next: 0, done: 0 };
  async function write(): Promise<void> {
    using transport = createUnixTransport(aether.socket);
    const writer = { aether, client: createClient(transport), ledger, round, contents };
    while (state.next < count) {
      const number = state.next++;
      await mix[number % mix.length]?.(writer, number);
      state.done++;
    }
  }
  const over = Promise.all(Array.from({ length: clients }, write)).then(() => awaitJobs(aether.client, ledger));
  return {
    ledger,
    get done() {
      return state.done;
    },
    over,
  };
}

const upload: Write = async ({ client, ledger, round, contents }, number) => {
  const bytes = contents[number % contents.length] as Buffer;
  const named = { name: `${round}-${number}`, labels: { round }, idempotencyKey: randomUUID() };
  const isKnown = number % 3 === 0;
  const { id } = await acknowledged(ledger, (signal) =>
    client.artifacts.put(inParts(bytes), { ...named, signal, ...(isKnown && { sha256: sha256(bytes) }) }),
  );
  ledger.artifacts.set(id, { name: named.name, sha256: sha256(bytes) });
};

const register: Write = async ({ aether, client, ledger, round, contents }, number) => {
  const bytes = contents[(number + 1) % contents.length] as Buffer;
  const path = join(aether.home, `${round}-${number}`);
  writeFileSync(path, bytes);
  const idempotencyKey = randomUUID();
  const { id, name } = await acknowledged(ledger, (signal) =>
    client.artifacts.register({ path, labels: { round } }, { idempotencyKey, signal }),
  );
  ledger.artifacts.set(id, { name, sha256: sha256(bytes) });
};

/** Sends some chunks and goes away. */
const breakOff: Write = async ({ client, ledger, round }, number) => {
  const name = `${round}-${number}`;
  ledger.broken.add(name);
  async function* some() {
    for (let part = 0; part < 3; part++) yield randomBytes(limits.chunkBytes);
    throw new Error("broken off");
  }
  await client.artifacts.put(some(), { name, labels: { round } }).catch(() => {});
};

/** Deletes one of the artifacts that were acknowledged. */
const remove: Write = async ({ client, ledger }) => {
  const [id] = ledger.artifacts.keys();
  if (id === undefined) return;
  ledger.artifacts.delete(id);
  ledger.removed.add(id);
  const tries = { count: 0 };
  await acknowledged(ledger, async (signal) => {
    try {
      await client.artifacts.delete(id, { signal });
    } catch (error) {
      const wasDone = tries.count++ > 0 && error instanceof ProblemError && error.slug === "not-found";
      if (!wasDone) throw error;
    }
  });
};

const keep = async (
  { client, ledger, round }: Writer,
  number: number,
  more: { kind: "note" | "document"; supersedes?: string },
) => {
  const paragraph = `This is ${wordOf(round, number)}, of ${round}. ${"It is kept word for word. ".repeat(20)}\n\n`;
  const text = paragraph.repeat(more.kind === "document" ? 10 : 1);
  const idempotencyKey = randomUUID();
  const { id } = await acknowledged(ledger, (signal) =>
    client.memory.add({ ...more, text, labels: { round } }, { idempotencyKey, signal }),
  );
  ledger.entries.set(id, { text, supersedes: more.supersedes ?? null });
};
const note: Write = (writer, number) => keep(writer, number, { kind: "note" });
const document: Write = (writer, number) => keep(writer, number, { kind: "document" });

/** Takes the place of an entry that nobody else is busy with. */
const supersede: Write = async (writer, number) => {
  const supersedes = takeEntry(writer.ledger);
  await keep(writer, number, { kind: "note", ...(supersedes !== undefined && { supersedes }) });
};

const forget: Write = async ({ client, ledger }) => {
  const id = takeEntry(ledger);
  if (id === undefined) return;
  await acknowledged(ledger, (signal) => client.memory.forget(id, { signal }));
  ledger.forgotten.set(id, ledger.entries.get(id)?.supersedes ?? null);
  ledger.entries.delete(id);
};

const emit: Write = async ({ client, ledger, round }, number) => {
  const id = `${round}-${number}`;
  const event = { specversion: "1.0" as const, id, type: `com.example.${round}`, data: { number } };
  const { sequence } = await acknowledged(ledger, (signal) => client.events.emit(event, { signal }));
  ledger.events.set(id, sequence);
};

const run: Write = async ({ client, ledger, round }, number) => {
  const text = wordOf(round, number);
  const command = ["sh", "-c", `printf %s ${text} >/outputs/${text}`];
  const idempotencyKey = randomUUID();
  const spec = { command, resources: small, labels: { round } };
  const { id } = await acknowledged(ledger, (signal) => client.jobs.submit(spec, { idempotencyKey, signal }));
  ledger.jobs.set(id, text);
};

/** Waits for the end of every job; one that lost its worker's answer is only given up when its lease is over. */
async function awaitJobs(client: Client, ledger: Ledger): Promise<void> {
  for (const [id, text] of ledger.jobs) {
    const send = async (signal: AbortSignal) => {
      const job = await client.jobs.get(id, { wait: "1s", signal });
      if (!isTerminal(job.state)) throw new ProblemError("unavailable", { detail: `${id} has not ended yet` });
      return job;
    };
    const { artifacts } = await acknowledged(ledger, send, 60_000);
    for (const artifact of artifacts) ledger.artifacts.set(artifact.id, { name: text, sha256: sha256(text) });
  }
}

const mix: Write[] = [
  ...[upload, note, emit, register, note, upload, emit, document, upload, note],
  ...[breakOff, supersede, emit, upload, run, note, remove, emit, forget, register],
];

/** A word of its own for each write: digits and letters, so that it is searched as one. */
export const wordOf = (round: string, number: number) => `word${round}x${number}`;

const taken = new WeakMap<Ledger, Set<string>>();

function takeEntry(ledger: Ledger): string | undefined {
  const used = taken.get(ledger) ?? new Set<string>();
  taken.set(ledger, used);
  const id = [...ledger.entries.keys()].find((one) => !used.has(one));
  if (id !== undefined) used.add(id);
  return id;
}

/** Sends it until it is acknowledged; only a failure that says it is passing is met by sending it again. */
async function acknowledged<T>(
  ledger: Ledger,
  send: (signal: AbortSignal) => Promise<T>,
  forMs = patienceMs,
): Promise<T> {
  for (const giveUpAt = performance.now() + forMs; ; ) {
    try {
      return await send(AbortSignal.timeout(tryMs));
    } catch (error) {
      if (!isPassing(error) || performance.now() > giveUpAt) throw error;
      ledger.retries.push(error instanceof Error ? error.message : String(error));
      await setTimeout(50);
    }
  }
}

function isPassing(error: unknown): boolean {
  if (!(error instanceof ProblemError)) return error instanceof Error && error.name === "AbortError";
  const { detail = "" } = error.problem;
  return error.problem.status >= 503 || (error.slug === "conflict" && detail.startsWith("this transfer is over"));
}

async function* inParts(bytes: Buffer) {
  for (let from = 0; from < bytes.length; from += 100_000) yield bytes.subarray(from, from + 100_000);
}
