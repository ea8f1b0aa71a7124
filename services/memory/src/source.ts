// What a text is from: its URI, and what there is to be told about it now, to somebody, by whoever reads it for him.
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Call } from "@aether/bus";

/** Who asks, and in which request. */
export type Asker = Pick<Call, "principal" | "requestId" | "intentId" | "traceparent" | "token">;

export interface Source {
  sha256: string;
  /** Null where the digest was known, and with it what they are. */
  bytes: Buffer | null;
  /** The job that it came out of, where it is an artifact that says so. */
  jobId: string | null;
}

/** Why this asker cannot read it. */
export interface Refusal {
  refused: string;
}

export interface SourceReader {
  /** A source as it is now, without bytes where `known` is its digest. Throws ProblemError where nobody can tell now. */
  read(uri: string, asker: Asker, known?: string | null): Promise<Source | Refusal>;
}

/** Whether a source's bytes can be looked up at all. */
export const isReadable = (uri: string) => /^(file:\/\/\/|artifact:)/.test(uri);

/** What policies see of a source: few different words, since judgements are kept by them. */
export function originOf(uri: string | null): "here" | "file" | "artifact" | "elsewhere" {
  if (uri === null || uri.startsWith("aether:")) return "here";
  if (uri.startsWith("file:///")) return "file";
  return uri.startsWith("artifact:") ? "artifact" : "elsewhere";
}

export const fileUri = (path: string) => pathToFileURL(path).href;

/** The id of an artifact's URI; null where it is another's. */
export const artifactOf = (uri: string) => (uri.startsWith("artifact:") ? uri.slice("artifact:".length) : null);

/** The path of a file URI, or the URI itself. */
export function placeOf(uri: string): string {
  if (!uri.startsWith("file://")) return uri;
  try {
    return fileURLToPath(uri);
  } catch {
    return uri; // no path of this host
  }
}

/** A source without its lines, and the lines: `#L10-L14`. */
export function splitUri(uri: string): { uri: string; lines: [number, number] | null } {
  const found = /^(.*)#L([1-9]\d{0,8})(?:-L?([1-9]\d{0,8}))?$/.exec(uri);
  if (!found?.[1]) return { uri, lines: null };
  const first = Number(found[2]);
  return { uri: found[1], lines: [first, Math.max(first, Number(found[3] ?? first))] };
}

/** SHA-256 in hex, computed off the event loop. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  return Buffer.from(await crypto.subtle.digest("SHA-256", Uint8Array.from(bytes))).toString("hex");
}
