// Reads what a text is from, with the rights of who asks and never with ours. In this process that is possible only where
// both are the same user; for anybody else the read is refused until somebody reads on their behalf (`SourceReader`).
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { limits, type Principal, ProblemError } from "@aether/contracts";

/** The bytes of a source; null where there is none that this principal can read, or it is over the maximum. */
export interface SourceReader {
  /** Throws ProblemError `unavailable` where nobody can read for this principal. */
  read(uri: string, principal: Principal): Promise<Uint8Array | null>;
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

/** The path of a file URI, or the URI itself. */
export function placeOf(uri: string): string {
  return uri.startsWith("file://") ? (toPath(uri) ?? uri) : uri;
}

/** A source without its lines, and the lines: `#L10-L14`. */
export function splitUri(uri: string): { uri: string; lines: [number, number] | null } {
  const found = /^(.*)#L([1-9]\d{0,8})(?:-L?([1-9]\d{0,8}))?$/.exec(uri);
  if (!found?.[1]) return { uri, lines: null };
  const first = Number(found[2]);
  return { uri: found[1], lines: [first, Math.max(first, Number(found[3] ?? first))] };
}

/** Reads files of this process's own user. */
export function createOwnFileReader(): SourceReader {
  return {
    async read(uri, principal) {
      if (!uri.startsWith("file:///")) throw needs("artifacts are not kept yet");
      if (principal.type !== "User" || principal.uid === undefined || principal.uid !== process.getuid?.()) {
        throw needs("files can be read only for the user that Aether runs as; send the text itself");
      }
      const path = toPath(uri);
      return path === null ? null : await readRegular(path);
    },
  };
}

function needs(detail: string): ProblemError {
  return new ProblemError("unavailable", { detail, retry_after_ms: 60_000 });
}

function toPath(uri: string): string | null {
  try {
    return fileURLToPath(uri);
  } catch {
    return null; // a host, an encoded slash: no path of this host
  }
}

/** Regular files only: no device that never ends, no FIFO that waits, no link that leads elsewhere. */
async function readRegular(path: string): Promise<Uint8Array | null> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return null; // there is none, or none that may be read
  }
  try {
    if (!(await file.stat()).isFile()) return null;
    const buffer = Buffer.alloc(limits.memorySourceBytes + 1);
    let sizeBytes = 0;
    for (let read = -1; read !== 0 && sizeBytes < buffer.length; sizeBytes += read) {
      ({ bytesRead: read } = await file.read(buffer, sizeBytes, Math.min(buffer.length - sizeBytes, 256 * 1024), null));
    }
    return sizeBytes > limits.memorySourceBytes ? null : Uint8Array.from(buffer.subarray(0, sizeBytes));
  } finally {
    await file.close();
  }
}
