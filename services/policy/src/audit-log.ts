// The audit log of this installation: opened at what is stored, begun with a `writer.start` record, ended with a `writer.stop`.
// A log whose last record is anything else was not ended; then a `gap` record says what may be missing.
import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { type Bus, streamState } from "@aether/bus";
import type { Logger } from "@aether/telemetry";
import { applyRecord, emptyState, type LogState, type OutcomePosition, parseRecords } from "./audit-state.ts";
import { auditStream, readStream, storedBytes, streamMaxBytes } from "./audit-stream.ts";
import { type AppendOptions, AuditWriter } from "./audit-writer.ts";
import { type Checkpointer, startCheckpointer } from "./checkpointer.ts";
import { type Checkpoints, openCheckpoints } from "./checkpoints.ts";
import { type Digests, openDigests } from "./digests.ts";
import { createDraft, type Draft, policyActor } from "./record.ts";
import { type Sealer, startSealer } from "./sealer.ts";
import { listSegments, type Segment, toState } from "./segments.ts";
import { createSpace, hasRoom, type Space } from "./space.ts";

/** What a record takes at most, as a rule. */
const recordBytes = 2048;

export interface AuditLogOptions {
  bus: Bus;
  dataDir: string;
  checkpointDir: string;
  sealBytes: number;
  log: Logger;
  /** Told of every append: how long it took, and whether it was stored. */
  measure?(tookMs: number, stored: boolean): void;
}

export interface AuditLog extends AsyncDisposable {
  readonly checkpoints: Checkpoints;
  readonly digests: Digests;
  readonly segmentsDir: string;
  /** Sequence of the stream's last message that is known to be stored. */
  readonly sequence: number;
  /** Which outcomes were in the log when it was opened. */
  readonly outcomes: OutcomePosition;
  /** Settles with the reason when another writer took over. */
  readonly superseded: Promise<string>;
  append(drafts: readonly Draft[], options?: AppendOptions): Promise<void>;
  /** Position of the newest record that is known to be stored. */
  readonly seq: number;
  /** How old the newest checkpoint is, null before the first of this process. */
  readonly checkpointAgeMs: number | null;
  /** Seals everything that is stored now. */
  sealAll(): Promise<Segment[]>;
  readonly space: Readonly<Space>;
  /** What is wrong with the log, in words. */
  degraded(): string[];
}

/** Opens the log and begins to write it. */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { bus, log } = options;
  const folder = join(options.dataDir, "audit");
  const segmentsDir = join(folder, "segments");
  await mkdir(segmentsDir, { recursive: true, mode: 0o750 });
  await mkdir(options.checkpointDir, { recursive: true, mode: 0o750 });
  const checkpoints = openCheckpoints(folder, options.checkpointDir);
  const digests = openDigests(join(folder, "digest.key"));
  const stored = await readStored(bus, segmentsDir);
  const space = createSpace(await streamMaxBytes(bus), stored.unsealedBytes);
  const checkpointer = startCheckpointer(checkpoints, stored.state.end, log);
  const { sequence } = stored;
  const writer = new AuditWriter({ bus, end: stored.state.end, sequence, space, onStored: checkpointer.grown });
  const sealer = await startSealer({
    ...{ bus, folder: segmentsDir, checkpoints, space, log, sealed: stored.sealed, sealBytes: options.sealBytes },
    sequence: () => writer.sequence,
    onSealed: (segment) => void recordSeal(writer, segment, log),
  });
  // Whoever took over seals from then on.
  void writer.superseded.then(() => sealer[Symbol.asyncDispose]());
  await writer.append(beginning(stored.state, sequence), { reserve: true });
  /** What a record names by a digest, it names by one that nothing can be guessed from. */
  const keyed = (draft: Draft): Draft => {
    const { digest } = draft.provenance;
    return digest === null ? draft : { ...draft, provenance: { ...draft.provenance, digest: digests.key(digest) } };
  };
  return {
    checkpoints,
    digests,
    segmentsDir,
    get sequence() {
      return writer.sequence;
    },
    outcomes: stored.state.outcomes,
    superseded: writer.superseded,
    async append(drafts, appendOptions) {
      const startedAt = performance.now();
      let stored = false;
      try {
        await writer.append(drafts.map(keyed), appendOptions);
        stored = true;
      } finally {
        options.measure?.(performance.now() - startedAt, stored);
      }
    },
    get seq() {
      return writer.seq;
    },
    get checkpointAgeMs() {
      return checkpointer.writtenAtMs === null ? null : performance.now() - checkpointer.writtenAtMs;
    },
    sealAll: () => sealer.sealAll(),
    space,
    degraded: () => faultsOf(space, sealer, checkpointer),
    async [Symbol.asyncDispose]() {
      await sealer[Symbol.asyncDispose]();
      const stop = createDraft({ kind: "writer.stop", actor: policyActor, action: "audit.stop" });
      await writer.append([stop], { reserve: true }).catch((error: unknown) => {
        log.warn({ err: error }, "the end of the audit writer could not be recorded");
      });
      await writer.close();
      await checkpointer[Symbol.asyncDispose]();
    },
  };
}

interface Stored {
  state: LogState;
  /** Sequence of the stream's last message. */
  sequence: number;
  unsealedBytes: number;
  sealed: { state: LogState; sequence: number };
}

/** Reads what the log holds: the newest segment's seal, and every message behind it. */
async function readStored(bus: Bus, segmentsDir: string): Promise<Stored> {
  const newest = (await listSegments(segmentsDir)).at(-1);
  const stream = await streamState(bus, auditStream);
  const sealed = {
    state: newest ? toState(newest) : emptyState(),
    sequence: newest?.seal.stream.created === stream.created ? newest.seal.stream.sequence : 0,
  };
  const state = structuredClone(sealed.state);
  let unsealedBytes = 0;
  const from = Math.max(sealed.sequence + 1, stream.firstSequence);
  for await (const message of readStream(bus, from, stream.lastSequence)) {
    const records = parseRecords(message.data);
    if (records.some(({ seq }) => seq > sealed.state.end.seq)) unsealedBytes += storedBytes(message.data.length);
    else sealed.sequence = message.sequence;
    for (const record of records) applyRecord(state, record);
  }
  return { state, sequence: stream.lastSequence, unsealedBytes, sealed };
}

function beginning({ end, lastKind }: LogState, sequence: number): Draft[] {
  const clean = end.seq === 0 || lastKind === "writer.stop";
  const provenance = { request_id: null, digest: null, source: { stream: auditStream, sequence } };
  const about = { actor: policyActor, provenance };
  const start = createDraft({
    ...{ ...about, kind: "writer.start", action: "audit.start" },
    note: end.seq === 0 ? "the first record" : `goes on from record ${end.seq}, whose hash is ${end.hash}`,
  });
  if (clean) return [start];
  const gap = createDraft({
    ...{ ...about, kind: "gap", action: "audit.gap" },
    note: "the writer before did not end: status reads and repeated denials of its last second may not be recorded",
  });
  return [start, gap];
}

async function recordSeal(writer: AuditWriter, { file, seal }: Segment, log: Logger): Promise<void> {
  const note = `records ${seal.first_seq} to ${seal.last_seq} are sealed in ${basename(file)}`;
  const draft = createDraft({ kind: "segment.start", actor: policyActor, action: "audit.seal", note });
  await writer.append([draft], { patient: true }).catch((error: unknown) => {
    log.warn({ err: error, file }, "a sealed segment could not be recorded; it is sealed all the same");
  });
}

function faultsOf(space: Space, sealer: Sealer, checkpointer: Checkpointer): string[] {
  const share = Math.round((100 * space.unsealedBytes) / space.maxBytes);
  return [
    hasRoom(space, recordBytes, false)
      ? null
      : "the audit store is full: only what ends things or makes room is done until it is sealed",
    share >= 80 ? `${share} % of the audit store is not sealed yet` : null,
    sealer.error && `audit records cannot be sealed: ${sealer.error}`,
    checkpointer.error && `audit checkpoints cannot be written: ${checkpointer.error}`,
  ].filter((fault) => fault !== null);
}
