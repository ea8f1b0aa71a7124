// The bytes of artifacts: sent and read as they come, never held as a whole.
import { Artifact, formatQuery } from "@aether/contracts";
import { isOk, requestJson, toProblemError } from "./call.ts";
import type { Transport } from "./transport.ts";

export interface PutOptions {
  name: string;
  /** Media type. */
  type?: string;
  jobId?: string;
  labels?: Readonly<Record<string, string>>;
  /** Where it is known: what is too large is then refused before it is sent. */
  sizeBytes?: number;
  /** Where it is known, in hexadecimal: other bytes are refused, and bytes that are there already are not written again. */
  sha256?: string;
  signal?: AbortSignal;
}

export interface Content {
  /** The SHA-256 of all bytes, in hexadecimal. */
  readonly sha256: string;
  /** How many bytes there are to read here. */
  readonly sizeBytes: number;
  readonly body: AsyncIterable<Uint8Array>;
}

export async function putContent(
  transport: Transport,
  body: AsyncIterable<Uint8Array>,
  options: PutOptions & { headers: Record<string, string> },
): Promise<Artifact> {
  const { name, type, jobId, labels = {}, sizeBytes, sha256, signal } = options;
  const label = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  const headers: Record<string, string> = { ...options.headers, "Content-Type": type ?? "application/octet-stream" };
  if (sizeBytes !== undefined) headers["Content-Length"] = String(sizeBytes);
  if (sha256 !== undefined) headers["Content-Digest"] = `sha-256=:${Buffer.from(sha256, "hex").toString("base64")}:`;
  const path = `/v0/artifacts/content${formatQuery({ name, type, job_id: jobId, label })}`;
  return requestJson(transport, { method: "PUT", path, headers, body, ...(signal && { signal }) }, Artifact);
}

export async function readContent(
  transport: Transport,
  id: string,
  options: { from?: number | undefined; headers: Record<string, string>; signal?: AbortSignal },
): Promise<Content> {
  const { from = 0, signal } = options;
  const headers = { ...options.headers, Accept: "*/*", ...(from > 0 && { Range: `bytes=${from}-` }) };
  const path = `/v0/artifacts/${encodeURIComponent(id)}/content`;
  const response = await transport.request({ method: "GET", path, headers, ...(signal && { signal }) });
  if (!isOk(response.status)) throw await toProblemError(response);
  return {
    sha256: response.header("etag")?.replaceAll('"', "") ?? "",
    sizeBytes: Number(response.header("content-length")),
    body: response.body,
  };
}
