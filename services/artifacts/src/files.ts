// Artifacts and the files of this host: a path is read, and a file is placed, with the rights of the user who asks, by the
// opener. What the opener refuses is the caller's own affair and told to him.
import { basename } from "node:path";
import type { Entry } from "@aether/bus";
import { ArtifactName, hostUserOf, limits, type Principal, ProblemError } from "@aether/contracts";
import { type Credentials, FileRefused, type Opener } from "@aether/opener";
import { readObject } from "./downloads.ts";
import type { Draft, StoredArtifact } from "./record.ts";
import type { Store } from "./store.ts";
import type { Announced, Uploads } from "./uploads.ts";

export interface Files {
  /** Stores a file of this host. */
  register(principal: Principal, path: string, draft: Draft, announced: Announced): Promise<Entry<StoredArtifact>>;
  /** The path of a file with an artifact's bytes, verified just now. */
  place(principal: Principal, artifact: StoredArtifact): Promise<string>;
  /** Removes the files of an artifact that is no more. */
  forget(id: string): Promise<void>;
  /** Removes the files of artifacts that went while nobody could. */
  sweep(): Promise<void>;
}

export interface FilesParts {
  store: Store;
  uploads: Uploads;
  opener: Opener;
  freeFloorBytes: number;
}

export function createFiles({ store, uploads, opener, freeFloorBytes }: FilesParts): Files {
  return {
    async register(principal, path, draft, announced) {
      const credentials = requireCredentials(principal);
      const upload = await uploads.begin(draft, announced);
      try {
        const pending: Promise<void>[] = [];
        for await (const chunk of opener.read(credentials, path, limits.artifactBytes)) {
          pending.push(upload.write(chunk));
          if (pending.length >= limits.transferChunksInFlight) await pending.shift();
        }
        await Promise.all(pending);
      } catch (error) {
        await upload.abort();
        throw toProblem(error);
      }
      return upload.commit();
    },
    async place(principal, artifact) {
      const { id: name, sha256, size_bytes: sizeBytes } = artifact;
      using _ = store.pin(artifact.object);
      const chunks = () => readObject(store.objects, artifact);
      const placing = { name, sha256, sizeBytes, freeFloorBytes, chunks };
      return opener.place(requireCredentials(principal), placing).catch((error: unknown) => {
        throw toProblem(error);
      });
    },
    async forget(id) {
      await opener.forget([id]);
    },
    async sweep() {
      const placed = await opener.forget([]);
      const gone: string[] = [];
      for (const id of placed) if (!(await store.get(id))) gone.push(id);
      if (gone.length > 0) await opener.forget(gone);
    },
  };
}

/** The name of a file as an artifact's; a plain one where it would not do. */
export function nameOfPath(path: string): string {
  const name = ArtifactName.safeParse(basename(path));
  return name.success ? name.data : "file";
}

function requireCredentials(principal: Principal): Credentials {
  const user = hostUserOf(principal);
  if (!user) throw new ProblemError("file-refused", { detail: "only users of this host have files here" });
  return user;
}

function toProblem(error: unknown): unknown {
  if (error instanceof ProblemError) return error;
  if (error instanceof FileRefused)
    return new ProblemError("file-refused", { detail: error.message }, { cause: error });
  return new ProblemError(
    "unavailable",
    { detail: "files cannot be opened right now", retry_after_ms: 1000 },
    { cause: error },
  );
}
