// The audit log of this installation: opened at what is stored, begun with a `writer.start` record, ended with a `writer.stop`.
import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Bus } from "@aether/bus";
import type { Logger } from "@aether/telemetry";
import { beginLog, lostRecords, readStored } from "./audit-start.ts";
import type { OutcomePosition } from "./audit-state.ts";
import { streamMaxBytes } from "./audit-stream.ts";
import { type AppendOptions, AuditWriter } from "./audit-writer.ts";
import { type Checkpointer, startCheckpointer } from "./checkpointer.ts";
import { type Checkpoints, openCheckpoints } from "./checkpoints.ts";
import { type Digests, openDigests } from "./digests.ts";
import { createDraft, type Draft, policyActor } from "./record.ts";
import { type Sealer, startSealer } from "./sealer.ts";
import type { Segment } from "./segments.ts";
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
  /** Seals everything that is stored now, and signs where the log ends. */
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
  const opened = Promise.withResolvers<AuditWriter>();
  let sequence = () => stored.sequence;
  await using opening = new AsyncDisposableStack();
  // Before anything is written: a log that is full is sealed first.
  const sealer = opening.use(
    await startSealer({
      ...{ bus, folder: segmentsDir, checkpoints, space, log, sealed: stored.sealed, sealBytes: options.sealBytes },
      sequence: () => sequence(),
      onSealed: (segment) => void opened.promise.then((writer) => recordSeal(writer, segment, log)),
    }),
  );
  const before = stored.state.end;
  await beginLog(bus, stored, space, checkpoints.newestSeq);
  const { end } = stored.state;
  const lost = checkpoints.newestSeq > before.seq ? lostRecords(before.seq, checkpoints.newestSeq) : null;
  const checkpointer = startCheckpointer(checkpoints, before, log);
  checkpointer.grown(end);
  const writer = new AuditWriter({ bus, end, sequence: stored.sequence, space, onStored: checkpointer.grown });
  sequence = () => writer.sequence;
  opened.resolve(writer);
  // Whoever took over seals from then on.
  void writer.superseded.then(() => sealer[Symbol.asyncDispose]());
  opening.move();
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
    async sealAll() {
      const sealed = await sealer.sealAll();
      await checkpointer.now();
      return sealed;
    },
    space,
    degraded: () => [
      ...(lost ? [`${lost}; aether audit verify says more`] : []),
      ...faultsOf(space, sealer, checkpointer),
    ],
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
