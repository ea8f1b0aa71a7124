// `GET …/content`: chunks are asked for a few ahead and written as the other side takes them. Bytes never change under their
// id, so a transfer that was lost in the middle (a restarted service, a long pause) is begun anew, decided anew, and goes
// on where it was. All of an artifact is held against its digest: where it does not fit, the answer ends without its last part.
import { createHash, type Hash } from "node:crypto";
import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { type Bus, type Chunk, type ChunkQuery, readAhead, request, requestChunks } from "@aether/bus";
import {
  type Artifact,
  closeTransfer,
  downloadArtifact,
  invalidRequest,
  limits,
  ProblemError,
  parseQuery,
  querySchema,
} from "@aether/contracts";
import { type Exchange, openStream } from "@aether/http";
import { type ByteRange, contentDisposition, isNamed, isRangeWanted, parseRange } from "./byte-range.ts";
import type { CallEnvelope } from "./call.ts";
import { toReprDigest } from "./content-digest.ts";

export interface DownloadCall {
  id: string;
  search: URLSearchParams;
  envelope: CallEnvelope;
}

interface DownloadContext {
  bus: Bus;
  closing: AbortSignal;
  retryForMs: number;
}

/** Answers with the bytes, some of them, or that the asker has them; throws ProblemError before the head is sent. */
export async function answerDownload(context: DownloadContext, exchange: Exchange, call: DownloadCall): Promise<void> {
  const { request: incoming, response } = exchange;
  const parsed = downloadArtifact.request.safeParse({
    ...parseQuery(querySchema(downloadArtifact), call.search),
    id: call.id,
  });
  if (!parsed.success) throw invalidRequest(parsed.error);
  const source = await openSource(context, parsed.data.id, call.envelope);
  try {
    const { artifact } = source;
    const etag = `"${artifact.sha256}"`;
    describeBytes(response, artifact, etag);
    if (isNamed(incoming.headers["if-none-match"], etag)) return void response.writeHead(304).end();
    const asked = isRangeWanted(incoming.headers["if-range"], etag) ? incoming.headers.range : undefined;
    const range = parseRange(asked, artifact.size_bytes);
    if (range === "unsatisfiable") throw refuseRange(response, artifact.size_bytes);
    await sendBytes(context, response, source, range);
  } finally {
    source.close();
  }
}

function describeBytes(response: ServerResponse, { name, sha256 }: Artifact, etag: string): void {
  response.setHeader("ETag", etag);
  response.setHeader("Accept-Ranges", "bytes");
  response.setHeader("Cache-Control", "private, no-cache");
  response.setHeader("Content-Disposition", contentDisposition(name));
  response.setHeader("X-Content-Type-Options", "nosniff");
  response.setHeader("Repr-Digest", toReprDigest(sha256));
}

function refuseRange(response: ServerResponse, sizeBytes: number): ProblemError {
  for (const name of response.getHeaderNames()) if (name !== "aether-request-id") response.removeHeader(name);
  response.setHeader("Content-Range", `bytes */${sizeBytes}`);
  return new ProblemError("range-not-satisfiable", { detail: `there are ${sizeBytes} bytes` });
}

async function sendBytes(
  { closing }: DownloadContext,
  response: ServerResponse,
  { artifact, read }: Source,
  range: ByteRange | null,
): Promise<void> {
  const size = artifact.size_bytes;
  const { first, last } = range ?? { first: 0, last: size - 1 };
  response.setHeader("Content-Length", last - first + 1);
  if (range) response.setHeader("Content-Range", `bytes ${first}-${last}/${size}`);
  const stream = openStream(response, { contentType: artifact.type, status: range ? 206 : 200 });
  const hash: Hash | null = range ? null : createHash("sha256");
  const at = (position: number) => Math.floor(position / limits.chunkBytes);
  try {
    for await (const { index, data } of readAhead(read, at(first), at(last))) {
      closing.throwIfAborted();
      hash?.update(data);
      if (hash && index === at(last) && hash.digest("hex") !== artifact.sha256)
        throw new Error("the bytes are not theirs");
      const from = index * limits.chunkBytes;
      await stream.write(data.subarray(Math.max(0, first - from), Math.min(data.length, last - from + 1)));
    }
    stream.end();
  } catch (error) {
    stream.abort();
    if (!stream.gone.aborted && !closing.aborted) throw error;
  }
}

interface Source {
  artifact: Artifact;
  read(query: ChunkQuery): Promise<Chunk[]>;
  close(): void;
}

/** Opens a download that comes back by itself, for a while. */
async function openSource(
  { bus, closing, retryForMs }: DownloadContext,
  id: string,
  envelope: CallEnvelope,
): Promise<Source> {
  const begin = async () => (await request(bus, downloadArtifact, { id }, { envelope })).reply;
  const begun = await begin();
  let current = Promise.resolve(begun.transfer);
  let beginning = false;

  /** Begins anew, once for all chunks that found the transfer gone. */
  function renew(gone: Promise<string>): void {
    if (beginning || current !== gone) return;
    beginning = true;
    current = begin()
      .then(({ transfer }) => transfer)
      .finally(() => {
        beginning = false;
      });
    current.catch(() => {}); // met by the chunks that wait for it
  }

  async function read(query: ChunkQuery): Promise<Chunk[]> {
    const deadline = performance.now() + retryForMs;
    for (let pauseMs = 50; ; pauseMs = Math.min(1000, pauseMs * 2)) {
      const transfer = current;
      try {
        return await requestChunks(bus, await transfer, query, { envelope });
      } catch (error) {
        const isPassing = error instanceof ProblemError && ["conflict", "unavailable"].includes(error.slug);
        if (!isPassing || performance.now() > deadline || closing.aborted) throw error;
        if (pauseMs > 50 || error.slug === "unavailable") await delay(pauseMs);
        renew(transfer);
      }
    }
  }

  return {
    artifact: begun.artifact,
    read,
    close: () =>
      void current.then((transfer) => request(bus, closeTransfer, { transfer }, { envelope })).catch(() => {}), // given up there by itself, only later
  };
}
