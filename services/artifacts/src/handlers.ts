// What is asked of artifacts: one small function per operation of the contract.
import { type Call, handler } from "@aether/bus";
import {
  closeTransfer,
  commitUpload,
  createId,
  deleteArtifact,
  downloadArtifact,
  getArtifact,
  hostUserOf,
  listArtifacts,
  ProblemError,
  principalName,
  readChunk,
  registerArtifact,
  sendChunk,
  uploadArtifact,
} from "@aether/contracts";
import { createReader } from "./downloads.ts";
import { type Files, nameOfPath } from "./files.ts";
import { type Draft, type StoredObject, toPublic } from "./record.ts";
import type { Store } from "./store.ts";
import type { Held, Transfers } from "./transfers.ts";
import type { Upload, Uploads } from "./uploads.ts";

/** A transfer is one of these two. */
export interface Transfer extends Held {
  upload: Upload | null;
  read: ((index: number) => Promise<Uint8Array>) | null;
  chunks: number;
}

export interface HandlerParts {
  store: Store;
  uploads: Uploads;
  files: Files;
  transfers: Transfers<Transfer>;
  /** Throws `storage-full` while the disk is below its floor of free space. */
  requireSpace(): Promise<void>;
}

export function artifactHandlers(parts: HandlerParts) {
  const { store, uploads, files, transfers } = parts;

  const load = async ({ id }: { id: string }) => {
    const entry = await store.get(id);
    return entry && { resource: { id, owner: entry.value.owner, labels: entry.value.labels }, value: entry };
  };
  const jobId = ({ job_id }: { job_id?: string | undefined }) => job_id ?? null;

  return [
    handler(registerArtifact, {
      jobId,
      context: ({ type }) => ({ type }),
      async handle({ path, name, sha256 = null, ...described }, call) {
        await parts.requireSpace();
        const draft = toDraft({ ...described, name: name ?? nameOfPath(path) }, call);
        const made = await store.get(draft.id);
        const entry = made ?? (await files.register(call.principal, path, draft, { sizeBytes: null, sha256 }));
        return toPublic(entry.value, entry.revision);
      },
    }),
    handler(uploadArtifact, {
      jobId,
      context: ({ type, size_bytes }) => ({ type, ...(size_bytes !== undefined && { size_bytes }) }),
      async handle({ sha256 = null, size_bytes: sizeBytes = null, ...described }, call) {
        await parts.requireSpace();
        transfers.requireRoom(call);
        const upload = await uploads.begin(toDraft(described, call), { sizeBytes, sha256 });
        return { transfer: transfers.open(call, { upload, read: null, chunks: 0, end: upload.abort }) };
      },
    }),
    handler(sendChunk, {
      async handle({ transfer, index }, call) {
        const { upload } = transfers.use(call, transfer);
        if (upload?.chunks !== index) throw new ProblemError("conflict", { detail: "this is not the next chunk" });
        await upload.write(call.bytes);
        return {};
      },
    }),
    handler(commitUpload, {
      async handle({ transfer }, call) {
        const { upload } = transfers.take(call, transfer);
        if (!upload) throw new ProblemError("conflict", { detail: "this transfer is a download" });
        const entry = await upload.commit();
        return toPublic(entry.value, entry.revision);
      },
    }),
    handler(getArtifact, {
      load,
      async handle({ path }, call) {
        const { value, revision } = call.loaded;
        return toPublic(
          value,
          revision,
          path && hostUserOf(call.principal) ? await files.place(call.principal, value) : null,
        );
      },
    }),
    handler(downloadArtifact, {
      load,
      async handle(_request, call) {
        const { value, revision } = call.loaded;
        transfers.requireRoom(call);
        return { transfer: transfers.open(call, toDownload(store, value)), artifact: toPublic(value, revision) };
      },
    }),
    handler(readChunk, {
      async handle({ transfer, index }, call) {
        const { read, chunks } = transfers.use(call, transfer);
        if (!read || index >= chunks) throw new ProblemError("conflict", { detail: "there is no such chunk" });
        return { reply: {}, bytes: await read(index) };
      },
    }),
    handler(closeTransfer, {
      async handle({ transfer }, call) {
        await transfers.take(call, transfer).end();
        return {};
      },
    }),
    handler(listArtifacts, {
      async handle(request, call) {
        if (request.min_revision && !(await store.index.view.reach(request.min_revision, 5_000)))
          throw new ProblemError("unavailable", {
            detail: "the list has not seen that revision yet",
            retry_after_ms: 1000,
          });
        const found = store.index.list({
          owner: call.decision?.scope === "all" ? null : principalName(call.principal),
          jobId: request.job_id ?? null,
          intentId: request.intent_id ?? null,
          type: request.type ?? null,
          sha256: request.sha256 ?? null,
          labels: request.label ?? [],
          before: request.cursor ?? null,
          limit: request.limit + 1,
        });
        const items = found.slice(0, request.limit).map(({ value, revision }) => toPublic(value, revision));
        return { items, next_cursor: found.length > request.limit ? (items.at(-1)?.id ?? null) : null };
      },
    }),
    handler(deleteArtifact, {
      load,
      async handle({ id }, call) {
        const { value, revision } = call.loaded;
        await store.exclusive(async () => {
          if (!(await store.get(id))) throw new ProblemError("not-found");
          await store.remove(call.loaded);
        });
        await files.forget(id).catch((error: unknown) => call.log.warn({ err: error, id }, "its files are left"));
        return toPublic(value, revision);
      },
    }),
  ] as const;
}

/** A download: its bytes stay as long as it goes on, whatever is deleted meanwhile. */
export function toDownload(store: Store, stored: StoredObject): Transfer {
  const pin = store.pin(stored.object);
  return {
    upload: null,
    read: createReader(store.objects, stored),
    chunks: stored.chunks,
    async end() {
      pin[Symbol.dispose]();
      await store.exclusive(() => store.release(stored.object));
    },
  };
}

function toDraft(
  { job_id, ...described }: { name: string; type: string; labels: Record<string, string>; job_id?: string | undefined },
  call: Call,
): Draft {
  return {
    ...described,
    id: call.createdId ?? createId("art"),
    owner: principalName(call.principal),
    job_id: job_id ?? null,
    intent_id: call.intentId,
  };
}
