// `PUT …/content`: the body goes on in chunks of one size, a few at a time, as fast as they are stored and never faster. Bytes
// that are there under the digest that was announced are read and hashed all the same, and go no further. What breaks off in
// the middle is given up, and nothing of it stays.
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { type Bus, request, sendInChunks } from "@aether/bus";
import {
  type Artifact,
  closeTransfer,
  commitUpload,
  invalidRequest,
  limits,
  type Operation,
  ProblemError,
  parseQuery,
  querySchema,
  sendChunk,
  uploadArtifact,
} from "@aether/contracts";
import { type Exchange, writeJson } from "@aether/http";
import type { CallEnvelope } from "./call.ts";
import { readContentDigest } from "./content-digest.ts";

export interface UploadCall {
  operation: Operation;
  search: URLSearchParams;
  envelope: CallEnvelope;
}

/** Answers one upload; throws ProblemError. */
export async function answerUpload(
  { bus }: { bus: Bus },
  { request: incoming, response }: Exchange,
  { operation, search, envelope: keyed }: UploadCall,
): Promise<void> {
  const input = toInput(incoming, parseQuery(querySchema(operation), search));
  const { transfer, known } = (await request(bus, uploadArtifact, input, { envelope: keyed })).reply;
  const { idempotency_key: _, ...envelope } = keyed; // the transfer has the id that the key stands for
  const send = async (index: number, bytes: Uint8Array) => {
    await request(bus, sendChunk, { transfer, index }, { envelope, bytes });
  };
  let made: Artifact;
  try {
    const came = known ? await hashParts(readParts(incoming), () => send(0, new Uint8Array(0))) : null;
    if (!came) await sendInChunks(readParts(incoming), send);
    made = (await request(bus, commitUpload, { transfer, ...(came && { came }) }, { envelope })).reply;
  } catch (error) {
    request(bus, closeTransfer, { transfer }, { envelope }).catch(() => {}); // given up there by itself, only later
    throw toProblem(error);
  }
  response.setHeader("Location", `/v0/artifacts/${made.id}`);
  writeJson(response, 201, made);
}

/** What came of bytes that go no further; their transfer is kept open meanwhile. */
async function hashParts(parts: AsyncIterable<Uint8Array>, keepOpen: () => Promise<void>) {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  // Where it is not kept open, the commit says so.
  using _ = setInterval(() => void keepOpen().catch(() => {}), limits.transferIdleMs / 4);
  for await (const part of parts) {
    sizeBytes += part.length;
    if (sizeBytes > limits.artifactBytes) throw tooLarge();
    hash.update(part);
  }
  return { sha256: hash.digest("hex"), size_bytes: sizeBytes };
}

/** A transfer that is over before its end was lost with the service's process, or by dawdling: it is the same to begin anew. */
function toProblem(error: unknown): unknown {
  if (!(error instanceof ProblemError) || error.slug !== "conflict") return error;
  const detail = "the upload was lost on the way and nothing of it is stored: send it again";
  return new ProblemError("unavailable", { detail, retry_after_ms: 1000 }, { cause: error });
}

function tooLarge(): ProblemError {
  return new ProblemError("too-large", { detail: `an artifact may have ${limits.artifactBytes} bytes` });
}

function toInput({ headers }: IncomingMessage, query: Record<string, unknown>) {
  const encoding = headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity")
    throw new ProblemError("unsupported-media-type", { detail: "the body is stored as it is: send it uncompressed" });
  const { label, ...described } = query;
  const length = headers["content-length"];
  const sha256 = readContentDigest(headers);
  const parsed = uploadArtifact.request.safeParse({
    ...described,
    labels: toPairs(Array.isArray(label) ? label : []),
    ...(length !== undefined && { size_bytes: Number(length) }),
    ...(sha256 !== null && { sha256 }),
  });
  if (!parsed.success) throw invalidRequest(parsed.error);
  if (Number(length ?? 0) > limits.artifactBytes) throw tooLarge();
  return parsed.data;
}

function toPairs(labels: readonly string[]): Record<string, string> {
  const pairs = labels.map((text) => {
    const at = text.indexOf("=");
    if (at > 0) return [text.slice(0, at), text.slice(at + 1)] as const;
    throw new ProblemError("invalid-request", {
      detail: "label: must be k=v",
      errors: [{ path: "label", message: "must be k=v" }],
    });
  });
  return Object.fromEntries(pairs);
}

async function* readParts(body: IncomingMessage): AsyncGenerator<Buffer, void, void> {
  const late = setTimeout(() => body.destroy(new Error("nothing came")), limits.transferIdleMs);
  try {
    for await (const part of body.iterator({ destroyOnReturn: false })) {
      yield part;
      late.refresh();
    }
  } catch (error) {
    throw new ProblemError("invalid-request", { detail: "the body ended before it was complete" }, { cause: error });
  } finally {
    clearTimeout(late);
  }
}
