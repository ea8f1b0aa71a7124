// Keeps the unsealed part of the log small: when it has grown past a share of the stream, its oldest records are written into a
// segment, synced and read back, and only then do their bytes count as free. While that fails (a full disk), the unsealed
// part grows until appends are refused; nothing is ever dropped that is not sealed.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { type Bus, streamState } from "@aether/bus";
import type { Logger } from "@aether/telemetry";
import { applyRecord, type LogState, parseRecords } from "./audit-state.ts";
import { auditStream, readStream, storedBytes } from "./audit-stream.ts";
import type { Checkpoints } from "./checkpoints.ts";
import { commitSegment, dropDrafts, makeDraftsDir, type Seal, type Segment, toState } from "./segments.ts";
import type { Space } from "./space.ts";

const sealShare = 0.5;
const lookEveryMs = 1000;
const segmentMaxBytes = 16 * 1024 * 1024;

export interface SealerOptions {
  bus: Bus;
  folder: string;
  checkpoints: Checkpoints;
  space: Space;
  /** The state at the end of the newest segment, and the sequence of the stream's last message in it. */
  sealed: { state: LogState; sequence: number };
  /** Sequence of the last stored message. */
  sequence(): number;
  /** Called after a segment was sealed. */
  onSealed(segment: Segment): void;
  /** Seal when so many bytes are unsealed, or half the stream where that is less. */
  sealBytes: number;
  log: Logger;
}

export interface Sealer extends AsyncDisposable {
  /** Seals everything that is stored now; throws where that fails. */
  sealAll(): Promise<Segment[]>;
  /** Why sealing fails; null when it does not. */
  readonly error: string | null;
}

/** Starts looking after the unsealed part. Resolves after a first look, so that a full log is sealed before it is used. */
export async function startSealer(options: SealerOptions): Promise<Sealer> {
  const { space, log } = options;
  const limitBytes = Math.min(options.sealBytes, space.maxBytes * sealShare);
  const ended = new AbortController();
  let sealed = options.sealed;
  let error: string | null = null;
  const sealWhile = async (isDue: () => boolean) => {
    const made: Segment[] = [];
    try {
      while (isDue() && !ended.signal.aborted) {
        const { segment, freedBytes, sequence } = await sealOldest(options, sealed);
        sealed = { state: toState(segment), sequence };
        space.unsealedBytes -= freedBytes;
        error = null;
        made.push(segment);
        log.info({ file: segment.file, freed_bytes: freedBytes }, "audit segment sealed");
        options.onSealed(segment);
      }
      return made;
    } catch (cause) {
      error = cause instanceof Error ? cause.message : String(cause);
      log.error({ err: cause }, "audit records could not be sealed");
      throw cause;
    }
  };
  const look = () =>
    sealWhile(() => space.unsealedBytes >= limitBytes).then(
      () => {},
      () => {}, // told by `error`
    );
  await dropDrafts(options.folder);
  await look();
  let looking: Promise<unknown> | null = null;
  const timer = setInterval(() => {
    looking ??= look().finally(() => (looking = null));
  }, lookEveryMs).unref();
  return {
    get error() {
      return error;
    },
    async sealAll() {
      while (looking) await looking.catch(() => {});
      const target = options.sequence();
      const sealing = sealWhile(() => sealed.sequence < target);
      looking = sealing.finally(() => (looking = null));
      looking.catch(() => {}); // the caller is told
      return sealing;
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      clearInterval(timer);
      await looking?.catch(() => {});
    },
  };
}

async function sealOldest(
  options: SealerOptions,
  sealed: SealerOptions["sealed"],
): Promise<{ segment: Segment; freedBytes: number; sequence: number }> {
  const recordsFile = join(await makeDraftsDir(options.folder), `${process.pid}.jsonl`);
  const state = structuredClone(sealed.state);
  const firstSeq = state.end.seq + 1;
  const written = await writeRecords(options, recordsFile, sealed.sequence, state);
  const { end, outcomes } = state;
  if ((await digestOf(recordsFile)) !== written.digest) {
    throw new Error(`${recordsFile}: what was read back is not what was written`);
  }
  const { created } = await streamState(options.bus, auditStream);
  const seal: Seal = {
    first_seq: firstSeq,
    last_seq: end.seq,
    last_hash: end.hash,
    bytes: written.fileBytes,
    checkpoint: options.checkpoints.sign(end),
    stream: { created, sequence: written.sequence },
    outcomes: { sequence: outcomes.sequence, open: Object.fromEntries(outcomes.open) },
  };
  const segment = await commitSegment(options.folder, recordsFile, seal);
  return { segment, freedBytes: written.streamBytes, sequence: written.sequence };
}

/** Writes unsealed messages to a file, up to a segment's size, taking them into `state`; synced when it resolves. */
async function writeRecords(options: SealerOptions, file: string, after: number, state: LogState) {
  await using handle = await open(file, "w", 0o640);
  const written = { fileBytes: 0, streamBytes: 0, sequence: after };
  const digest = createHash("sha256");
  for await (const message of readStream(options.bus, after + 1, options.sequence())) {
    const text = new TextDecoder().decode(message.data);
    const records = parseRecords(text);
    if (records.every(({ seq }) => seq > state.end.seq)) {
      await handle.appendFile(`${text}\n`);
      digest.update(`${text}\n`);
      written.fileBytes += message.data.length + 1;
      written.streamBytes += storedBytes(message.data.length);
    }
    for (const record of records) applyRecord(state, record);
    written.sequence = message.sequence;
    if (written.fileBytes >= segmentMaxBytes) break;
  }
  if (written.fileBytes === 0) throw new Error("there is nothing to seal");
  await handle.sync();
  return { ...written, digest: digest.digest("hex") };
}

async function digestOf(file: string): Promise<string> {
  const digest = createHash("sha256");
  for await (const chunk of createReadStream(file)) digest.update(chunk as Buffer);
  return digest.digest("hex");
}
