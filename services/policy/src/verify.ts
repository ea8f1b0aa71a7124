// Verifies the whole log of this installation: segments first, then the stream, then the checkpoints of both places.
import { readFile } from "node:fs/promises";
import { type Bus, streamState } from "@aether/bus";
import { type CheckpointFile, type Report, readBatches, startVerification, type Verification } from "@aether/chain";
import { auditStream, readStream } from "./audit-stream.ts";
import type { Checkpoints } from "./checkpoints.ts";
import { listSegments, type Segment } from "./segments.ts";
import { openTwin, type StreamTwin } from "./stream-twin.ts";

export interface VerifyOptions {
  bus: Bus;
  segmentsDir: string;
  checkpoints: Checkpoints;
}

/** Verifies everything that is stored at this moment. */
export async function verifyLog(options: VerifyOptions): Promise<Report & { segments: number }> {
  const { bus, segmentsDir, checkpoints } = options;
  const segments = await listSegments(segmentsDir);
  const places = await Promise.all(checkpoints.places.map(readPlace));
  const verification = startVerification(places, checkpoints.key);
  const { firstSequence, lastSequence } = await streamState(bus, auditStream);
  const twin = await openTwin(streamLines(bus, firstSequence, lastSequence));
  for (const segment of segments) await walkSegment(verification, segment, checkpoints, twin);
  await verification.walk(twin.rest(segments.at(-1)?.seal.last_seq ?? 0));
  const keyFault = await checkpoints.keyFault();
  if (keyFault) verification.tampered(null, keyFault);
  return { ...(await verification.report()), segments: segments.length };
}

async function walkSegment(
  verification: Verification,
  { file, seal }: Segment,
  checkpoints: Checkpoints,
  twin: StreamTwin,
): Promise<void> {
  const { tampered } = verification;
  try {
    const end = await verification.walk(compared(readBatches(file), seal.first_seq, twin, tampered));
    if (end.seq < seal.last_seq || end.hash !== seal.last_hash) {
      tampered(end.seq + 1, "the segment does not end as its seal says");
    }
  } catch (error) {
    tampered(seal.first_seq, `its segment cannot be read: ${error}`);
  }
  if (checkpoints.verify(seal.checkpoint)?.hash !== seal.last_hash) {
    tampered(seal.last_seq, "the segment's checkpoint is not one that this log's key signed");
  }
  verification.resumeAt({ seq: seal.last_seq, hash: seal.last_hash });
}

async function* compared(
  batches: AsyncIterable<string[]>,
  firstSeq: number,
  twin: StreamTwin,
  tampered: Verification["tampered"],
): AsyncGenerator<string[]> {
  let seq = firstSeq;
  for await (const lines of batches) {
    const differs = await twin.compare(lines, seq);
    if (differs !== null) tampered(differs, "the stream and a segment hold different records");
    seq += lines.length;
    yield lines;
  }
}

/** The lines of the stream from one message to another. */
export async function* streamLines(bus: Bus, from: number, to: number): AsyncGenerator<string[]> {
  if (to === 0) return;
  const decoder = new TextDecoder();
  for await (const { data } of readStream(bus, from, to)) yield decoder.decode(data).split("\n");
}

async function readPlace(file: string): Promise<CheckpointFile> {
  return { name: file, content: await readFile(file, "utf8").catch(() => "") };
}
