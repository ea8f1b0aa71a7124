// The record of an artifact → what happened to it. It is written once; the mark of its removal says what it was, so that both
// are told also where the mark is all that the bucket still holds.
import { removedHeader, type TailMessage } from "@aether/bus";
import { z } from "zod";
import type { Change, Happening } from "./source.ts";

/** The part of a stored record that events are made from. */
const ArtifactRecord = z.looseObject({
  id: z.string().regex(/^art_[0-9a-z]{26}$/),
  owner: z.string(),
  name: z.string(),
  type: z.string(),
  size_bytes: z.int(),
  sha256: z.string(),
  job_id: z.string().nullable(),
  intent_id: z.string().nullable(),
  created_at: z.string(),
});
type ArtifactRecord = z.infer<typeof ArtifactRecord>;

const Removed = z.object({ value: ArtifactRecord, revision: z.int() });

/** What a message of the bucket says; null for what is no artifact, and for the mark of one that was never told of. */
export function readArtifactChange(message: TailMessage): Change | null {
  if (!message.subject.startsWith("$KV.artifacts.art_")) return null;
  if (message.data) {
    const artifact = ArtifactRecord.parse(JSON.parse(new TextDecoder().decode(message.data)));
    return toChange(artifact, [created(artifact, message.sequence)]);
  }
  const removed = message.header(removedHeader);
  if (removed === undefined) return null;
  const { value, revision } = Removed.parse(JSON.parse(removed));
  const deleted = toHappening(value, message.sequence, "deleted", message.time.toISOString());
  return toChange(value, [created(value, revision), deleted]);
}

const created = (artifact: ArtifactRecord, revision: number): Happening =>
  toHappening(artifact, revision, "created", artifact.created_at);

function toHappening(artifact: ArtifactRecord, revision: number, verb: string, time: string): Happening {
  const { name, type, size_bytes, sha256 } = artifact;
  return { revision, type: `dev.aether.artifact.${verb}.v1`, time, data: { name, type, size_bytes, sha256 } };
}

function toChange(artifact: ArtifactRecord, happenings: Happening[]): Change {
  const { id, owner, intent_id: intentId, job_id: jobId } = artifact;
  return { key: id, owner, intentId, jobId, traceparent: null, happenings, isOpen: false };
}
