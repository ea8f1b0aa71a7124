// Bytes on their way in. They are hashed and stored as they come, bounded in number, and count only from the commit on,
// which writes the record. What the sender says about them is held against what came: a wrong digest stores nothing. Bytes
// that are there already under a digest that was announced are hashed and not written again, here or by the gateway, which
// then commits what came without sending it on. Either way who announces a digest has to have all bytes, and is refused, where
// he is, with the same words as for bytes that nobody has: knowing a digest gives nobody the bytes, nor that they are there.
import { createHash, randomUUID } from "node:crypto";
import type { Entry } from "@aether/bus";
import { limits, ProblemError } from "@aether/contracts";
import type { Draft, StoredArtifact, StoredObject } from "./record.ts";
import { isStoreFull, type Store } from "./store.ts";

export interface Announced {
  sizeBytes: number | null;
  sha256: string | null;
}

/** What came to a caller that is trusted to hash it. */
interface Came {
  sha256: string;
  size_bytes: number;
}

export interface Upload {
  /** Whether the announced bytes are there; they stay until this is over. */
  readonly isKnown: boolean;
  /** Chunks so far: the number of the next one. */
  readonly chunks: number;
  /** Takes the next chunk; resolves when it is stored. All but the last have the same size. */
  write(data: Uint8Array): Promise<void>;
  /** Makes it an artifact, or throws and leaves nothing. For known bytes what came may be told instead of written. */
  commit(came?: Came): Promise<Entry<StoredArtifact>>;
  abort(): Promise<void>;
}

export interface Uploads {
  begin(draft: Draft, announced: Announced): Promise<Upload>;
}

interface Active {
  owner: string;
  jobId: string | null;
  /** What it will have, or has, of its own and of its job's room. */
  sizeBytes: number;
  isNew: boolean;
}

/** What an owner's artifacts may have together, null where nothing limits it; a refusal is told to `onRefused`. */
export interface ByteQuota {
  of(owner: string): number | null;
  onRefused(): void;
}

export function createUploads(store: Store, quota: ByteQuota): Uploads {
  const active = new Set<Active>();

  /** Throws where this upload would take more than there may be; what others are sending counts as kept. */
  function requireRoom(upload: Active): void {
    if (upload.sizeBytes > limits.artifactBytes) throw tooLarge("an artifact", limits.artifactBytes);
    const sum = (others: (one: Active) => boolean) =>
      [...active].filter(others).reduce((bytes, one) => bytes + one.sizeBytes, 0);
    const { owner, jobId } = upload;
    if (jobId !== null) {
      const ofJob = store.index.jobBytes(owner, jobId) + sum((one) => one.jobId === jobId && one.owner === owner);
      if (ofJob > limits.artifactsPerJobBytes) throw tooLarge("the artifacts of a job", limits.artifactsPerJobBytes);
    }
    const most = quota.of(owner);
    const ofOwner = most === null ? 0 : store.index.ownerBytes(owner) + sum((one) => one.owner === owner);
    if (most !== null && ofOwner > most) {
      quota.onRefused();
      throw new ProblemError("too-many-requests", {
        detail: `quota artifact_bytes: ${most} bytes are allowed, and with this there would be ${ofOwner}`,
      });
    }
    if (upload.isNew && store.index.totalBytes() + sum((one) => one.isNew) > store.maxBytes)
      throw new ProblemError("artifacts-full", { detail: `all artifacts together may have ${store.maxBytes} bytes` });
  }

  return {
    async begin(draft, announced) {
      const { sha256 } = announced;
      const known = sha256 === null ? null : await store.exclusive(async () => store.index.objectOf(sha256));
      const own: Active = {
        owner: draft.owner,
        jobId: draft.job_id,
        sizeBytes: announced.sizeBytes ?? 0,
        // What others have needs room as if it were new, or a full store would tell what they have.
        isNew: known === null || !store.index.owns(draft.owner, known.sha256),
      };
      active.add(own);
      try {
        requireRoom(own);
      } catch (error) {
        active.delete(own);
        throw error;
      }
      return createUpload({ store, draft, announced, known, own, requireRoom, done: () => active.delete(own) });
    },
  };
}

interface Parts {
  store: Store;
  draft: Draft;
  announced: Announced;
  known: StoredObject | null;
  own: Active;
  requireRoom(upload: Active): void;
  done(): void;
}

function createUpload({ store, draft, announced, known, own, requireRoom, done }: Parts): Upload {
  const object = known?.object ?? randomUUID().replaceAll("-", "");
  const pin = store.pin(object);
  const hash = createHash("sha256");
  const pending = new Set<Promise<void>>();
  let sizeBytes = 0;
  let chunks = 0;
  let first = 0;
  let isOver = false;
  let failure: { error: unknown } | null = null;

  async function append(index: number, data: Uint8Array): Promise<void> {
    try {
      const sequence = await store.objects.append(object, index, data);
      if (index === 0) first = sequence;
    } catch (error) {
      failure ??= { error };
      if (isStoreFull(error)) throw new ProblemError("artifacts-full", {}, { cause: error });
      throw error;
    }
  }

  /** Lets the bytes go, unless something names them. */
  async function leave(): Promise<void> {
    isOver = true;
    await Promise.allSettled(pending);
    pin[Symbol.dispose]();
    await store.exclusive(() => store.release(object)).finally(done);
  }

  async function finish(came: Came | undefined): Promise<Entry<StoredArtifact>> {
    isOver = true;
    await Promise.allSettled(pending);
    if (failure) throw new ProblemError("conflict", { detail: "a chunk was not stored" }, { cause: failure.error });
    if (came) {
      if (!known || chunks > 0) throw new ProblemError("conflict", { detail: "these bytes have to be sent" });
      sizeBytes = came.size_bytes;
      own.sizeBytes = Math.max(own.sizeBytes, sizeBytes);
      requireRoom(own);
    }
    const sha256 = came?.sha256 ?? hash.digest("hex");
    if (announced.sha256 !== null && announced.sha256 !== sha256) throw mismatch(`their SHA-256 is ${sha256}`);
    if (announced.sizeBytes !== null && announced.sizeBytes !== sizeBytes) throw mismatch(`they are ${sizeBytes}`);
    return store.exclusive(async () => {
      const made = await store.get(draft.id); // by an earlier try with the same key, whose answer was lost
      if (made) return requireSame(made, sha256);
      const sent = { object, chunks, first, size_bytes: sizeBytes, sha256 };
      const { object: at, chunks: count, first: from } = known ?? store.index.objectOf(sha256) ?? sent;
      const bytes = { object: at, chunks: count, first: from, size_bytes: sizeBytes, sha256 };
      return store.create({ ...draft, ...bytes, created_at: new Date().toISOString() });
    });
  }

  return {
    isKnown: known !== null,
    get chunks() {
      return chunks;
    },
    write(data) {
      if (isOver) throw new ProblemError("conflict", { detail: "the upload is over" });
      if (data.length === 0 || data.length > limits.chunkBytes || sizeBytes !== chunks * limits.chunkBytes)
        throw new ProblemError("invalid-request", {
          detail: `a chunk has ${limits.chunkBytes} bytes, the last one less`,
        });
      if (pending.size >= 2 * limits.transferChunksInFlight) throw new ProblemError("too-many-requests");
      sizeBytes += data.length;
      own.sizeBytes = Math.max(own.sizeBytes, sizeBytes);
      requireRoom(own);
      hash.update(data);
      const index = chunks++;
      if (known) return Promise.resolve();
      const stored = append(index, data).finally(() => pending.delete(stored));
      pending.add(stored);
      return stored;
    },
    async commit(came) {
      try {
        return await finish(came);
      } finally {
        await leave();
      }
    },
    abort: leave,
  };
}

function tooLarge(what: string, maxBytes: number): ProblemError {
  return new ProblemError("too-large", { detail: `${what} may have ${maxBytes} bytes` });
}

function requireSame(made: Entry<StoredArtifact>, sha256: string): Entry<StoredArtifact> {
  if (made.value.sha256 === sha256) return made;
  throw new ProblemError("idempotency-conflict", { detail: "other bytes were stored under this key" });
}

function mismatch(detail: string): ProblemError {
  return new ProblemError("digest-mismatch", { detail });
}
