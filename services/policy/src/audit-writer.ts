// The one writer of the audit log. It keeps one append outstanding, which holds every record that waited for it (group commit),
// and answers nobody before that append is stored and synced.
//
// Every append expects the stream to end where this writer last saw it end. So of all appends at one position at most one is
// ever stored, and an append by anybody else makes all later ones of this writer fail. That settles what an unknown outcome
// (a timeout, a refused expectation) means: the message behind the known end is read.
//  - It is one of the appends tried here: those records are stored, their callers are answered so, the others are tried again.
//  - There is none: the records that are still wanted are tried again at the same position. An earlier try may yet arrive;
//    then it is the one that counts, and the new one is refused. Tried appends are remembered until something stands there.
//  - It is foreign, or the stream is shorter than what was acknowledged: another writer took over, or the store lost records.
//    This writer never writes again; all that wait are refused. Which records of which writer are in the log is then settled
//    by the log alone, and it has not forked.
// A caller is refused after `appendDeadlineMs`, in time for its own deadline. Its record may still be stored: a decision that
// was recorded and not carried out, never the other way round.
import { type Bus, isWrongSequence, streamState } from "@aether/bus";
import type { ChainEnd } from "@aether/chain";
import { limits, ProblemError } from "@aether/contracts";
import { parseRecords } from "./audit-state.ts";
import { auditStream, auditSubject, storedBytes } from "./audit-stream.ts";
import { type Draft, type Prepared, place, prepare } from "./record.ts";
import { hasRoom, type Space } from "./space.ts";

const KIB = 1024;
const appendMaxBytes = 512 * KIB;
const appendDeadlineMs = limits.decideDeadlineMs - 500;
const publishTimeoutMs = 700;
const retryPauseMs = 50;

export interface AppendOptions {
  /** May use the last share of the stream. */
  reserve?: boolean;
  /** Wait until it is stored, however long that takes; without it the caller is refused after the deadline. */
  patient?: boolean;
}

export interface WriterOptions {
  bus: Bus;
  end: ChainEnd;
  /** Sequence of the stream's last message. */
  sequence: number;
  space: Space;
  /** Called when records were stored. */
  onStored(end: ChainEnd): void;
}

/** Records that are stored together or not at all, and who waits for them. */
interface Entry {
  prepared: readonly Prepared[];
  bytes: number;
  waiting: PromiseWithResolvers<void> | null;
  timer: NodeJS.Timeout | undefined;
}

/** An append that was tried at the known end. Its last hash stands for all of it: a chain's end commits to what is before. */
interface Attempt {
  entries: readonly Entry[];
  end: ChainEnd;
  bytes: number;
}

export class AuditWriter {
  readonly #bus: Bus;
  readonly #space: Space;
  readonly #onStored: (end: ChainEnd) => void;
  readonly #superseded = Promise.withResolvers<string>();
  readonly #running: Promise<void>;
  #queue: Entry[] = [];
  #attempts: Attempt[] = [];
  #end: ChainEnd;
  #sequence: number;
  #closed: string | null = null;
  #wake = Promise.withResolvers<void>();

  constructor(options: WriterOptions) {
    this.#bus = options.bus;
    this.#space = options.space;
    this.#onStored = options.onStored;
    this.#end = options.end;
    this.#sequence = options.sequence;
    this.#running = this.#run();
  }

  /** Where the stored chain ends. */
  get end(): ChainEnd {
    return this.#end;
  }

  /** Position of the newest record that is known to be stored. */
  get seq(): number {
    return this.#end.seq;
  }

  /** Sequence of the last message that is known to be stored. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Settles with the reason when this writer may not write any more. */
  get superseded(): Promise<string> {
    return this.#superseded.promise;
  }

  /** Appends records, next to each other; resolves when they are stored and synced, throws `audit-unavailable` otherwise. */
  append(drafts: readonly Draft[], options: AppendOptions = {}): Promise<void> {
    if (this.#closed) return Promise.reject(refused(this.#closed));
    const prepared = drafts.map(prepare);
    const bytes = storedBytes(prepared.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
    if (bytes > appendMaxBytes) return Promise.reject(refused(`${bytes} bytes are too much for one append`));
    if (!hasRoom(this.#space, bytes, options.reserve ?? false))
      return Promise.reject(refused("the audit store is full"));
    const waiting = Promise.withResolvers<void>();
    const entry: Entry = { prepared, bytes, waiting, timer: undefined };
    if (!options.patient) {
      entry.timer = setTimeout(() => this.#refuse(entry, "the audit store does not answer"), appendDeadlineMs);
    }
    this.#space.waitingBytes += bytes;
    this.#queue.push(entry);
    this.#wake.resolve();
    return waiting.promise;
  }

  /** Ends the writer; what still waits is refused. */
  async close(reason = "the policy service is ending"): Promise<void> {
    this.#close(reason);
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      if (this.#queue.length === 0) {
        this.#wake = Promise.withResolvers();
        await this.#wake.promise;
      } else if (!this.#bus.connected) {
        await pause(retryPauseMs); // a publish now would wait inside the client and be sent whenever it comes back
      } else {
        await this.#appendWaiting();
      }
    }
  }

  async #appendWaiting(): Promise<void> {
    const assembled = this.#assemble();
    if (!assembled) return;
    const { attempt, data } = assembled;
    this.#attempts.push(attempt);
    this.#space.doubtfulBytes = Math.max(this.#space.doubtfulBytes, attempt.bytes);
    try {
      await this.#bus.js.publish(auditSubject, data, {
        expect: { lastSequence: this.#sequence },
        timeout: publishTimeoutMs,
      });
      this.#settle(attempt);
    } catch (error) {
      if (!isWrongSequence(error)) {
        this.#bus.log.warn({ err: error }, "the outcome of an audit append is not known");
        await pause(retryPauseMs);
      }
      await this.#resolveUnknown();
    }
  }

  /** The next append: as many waiting records as fit, placed behind the known end. */
  #assemble(): { attempt: Attempt; data: Uint8Array } | null {
    const entries: Entry[] = [];
    const lines: string[] = [];
    let end = this.#end;
    let bytes = 0;
    for (let entry = this.#queue[0]; entry && bytes + entry.bytes <= appendMaxBytes; entry = this.#queue[0]) {
      this.#queue.shift();
      if (!entry.waiting) continue;
      entries.push(entry);
      bytes += entry.bytes;
      for (const prepared of entry.prepared) {
        const placed = place(prepared, end);
        lines.push(placed.line);
        end = placed.end;
      }
    }
    if (entries.length === 0) return null;
    const data = new TextEncoder().encode(lines.join("\n"));
    return { attempt: { entries, end, bytes: storedBytes(data.length) }, data };
  }

  /** Reads what stands behind the known end until that is known. */
  async #resolveUnknown(): Promise<void> {
    while (!this.#closed) {
      try {
        const message = await this.#bus.jsm.streams.getMessage(auditStream, { seq: this.#sequence + 1 });
        if (message) return this.#adopt(message.data);
        const { firstSequence, lastSequence } = await streamState(this.#bus, auditStream);
        if (lastSequence < this.#sequence) return this.#supersede("the audit store lost records that it had stored");
        if (lastSequence > this.#sequence && firstSequence > this.#sequence + 1) {
          return this.#supersede("another writer appended to the audit log");
        }
        if (lastSequence > this.#sequence) continue; // it came in between the two questions
        return this.#tryAgain();
      } catch (error) {
        this.#bus.log.debug({ err: error }, "the end of the audit log cannot be read yet");
        await pause(retryPauseMs);
      }
    }
  }

  #adopt(data: Uint8Array): void {
    const stored = this.#attempts.find(({ end }) => end.hash === lastHash(data));
    if (stored) this.#settle(stored);
    else this.#supersede("another writer appended to the audit log");
  }

  /** Puts what the newest try held, and is still wanted, before what waits. */
  #tryAgain(): void {
    const tried = this.#attempts.at(-1)?.entries ?? [];
    this.#queue.unshift(...tried.filter(({ waiting }) => waiting));
  }

  /** An append is stored: its callers are answered; what other tries held is tried again behind it. */
  #settle(stored: Attempt): void {
    const tries = this.#attempts.length;
    if (this.#attempts.at(-1) !== stored) this.#tryAgain();
    this.#attempts = [];
    this.#space.doubtfulBytes = 0;
    this.#space.unsealedBytes += stored.bytes;
    this.#end = stored.end;
    this.#sequence++;
    for (const entry of stored.entries) this.#answer(entry)?.resolve();
    // An earlier try that was given up for lost and arrived after all: its records wait for another one.
    if (tries > 1) this.#queue = this.#queue.filter(({ waiting }) => waiting);
    this.#onStored(stored.end);
  }

  #supersede(reason: string): void {
    this.#bus.log.error({ reason }, "this policy instance stops: it may not write the audit log any more");
    this.#close(reason);
    this.#superseded.resolve(reason);
  }

  #close(reason: string): void {
    this.#closed ??= reason;
    for (const entry of [...this.#queue, ...this.#attempts.flatMap(({ entries }) => entries)])
      this.#refuse(entry, reason);
    this.#queue = [];
    this.#wake.resolve();
  }

  #refuse(entry: Entry, reason: string): void {
    this.#answer(entry)?.reject(refused(reason));
  }

  #answer(entry: Entry): PromiseWithResolvers<void> | null {
    const { waiting } = entry;
    if (waiting) this.#space.waitingBytes -= entry.bytes;
    entry.waiting = null;
    entry.prepared = [];
    clearTimeout(entry.timer);
    return waiting;
  }
}

/** The last record's hash in what stands in the stream; null where that is not of this log at all. */
function lastHash(data: Uint8Array): string | null {
  try {
    return parseRecords(data).at(-1)?.hash ?? null;
  } catch {
    return null; // something that is not a record is foreign, which is the answer
  }
}

function refused(detail: string): ProblemError {
  return new ProblemError("audit-unavailable", { detail, retry_after_ms: 1000 });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
