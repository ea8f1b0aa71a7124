// The record of an artifact: written once, when its bytes are whole, and removed when it is deleted. It says where the bytes
// are, so it is all that makes them count; several records of the same bytes name the same object.
import { type Artifact, ArtifactId, IntentId, JobId } from "@aether/contracts";
import { z } from "zod";

/** Where bytes are: the object, how many chunks it has, and the sequence of the first. */
export const StoredObject = z.object({
  object: z.string(),
  chunks: z.int(),
  first: z.int(),
  size_bytes: z.int(),
  sha256: z.string(),
});
export type StoredObject = z.infer<typeof StoredObject>;

export const StoredArtifact = StoredObject.extend({
  id: ArtifactId,
  name: z.string(),
  type: z.string(),
  owner: z.string(),
  job_id: JobId.nullable(),
  intent_id: IntentId.nullable(),
  labels: z.record(z.string(), z.string()),
  created_at: z.iso.datetime(),
});
export type StoredArtifact = z.infer<typeof StoredArtifact>;

/** The record before its bytes are known. */
export type Draft = Omit<StoredArtifact, keyof StoredObject | "created_at">;

/** The record as it is answered. */
export function toPublic(stored: StoredArtifact, revision: number, path: string | null = null): Artifact {
  const { object: _object, chunks: _chunks, first: _first, ...said } = stored;
  return { ...said, artifact_id: stored.id, path, revision };
}
