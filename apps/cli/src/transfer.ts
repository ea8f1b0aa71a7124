// Files to and from artifacts: with what has come so far on a terminal's last line, and nothing half done left behind,
// whatever ends it. A file's digest is announced, so that bytes that are there already are not stored again; what is downloaded
// is held against its digest before it gets its name.
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { Client } from "@aether/client";
import type { Artifact } from "@aether/contracts";
import { exitCodes, Failure } from "./failure.ts";
import { formatBytes } from "./format.ts";
import { interrupted } from "./interrupt.ts";
import { createProgress } from "./progress.ts";
import type { Terminal } from "./terminal.ts";
import { visible } from "./text.ts";

const sayEveryMs = 100;

export interface Described {
  name?: string | undefined;
  type?: string | undefined;
  jobId?: string | undefined;
  labels?: Readonly<Record<string, string>>;
}

/** A file of this machine, standard input, or bytes as they are made. */
export type Source = { file: string } | { stdin: NodeJS.ReadStream } | { bytes: AsyncIterable<Uint8Array> };

/** `-` as standard input, anything else as a file. */
export function sourceOf(operand: string, stdin: NodeJS.ReadStream): Source {
  return operand === "-" ? { stdin } : { file: operand };
}

/** Stores bytes as an artifact. A file is read twice: bytes that are there already need not be stored again. */
export function upload(client: Client, terminal: Terminal, source: Source, described: Described): Promise<Artifact> {
  return untilInterrupted(async (signal) => {
    const { read, sizeBytes, ownName } = await openSource(source, signal);
    const { name = ownName, type = typeOf(name), jobId, labels } = described;
    const hashed = () => digestOf(withProgress(terminal, read(), `hashing ${name}`, sizeBytes));
    const sha256 = sizeBytes === null ? null : await hashed();
    return client.artifacts.put(withProgress(terminal, read(), `storing ${name}`, sizeBytes), {
      ...{ name, type, signal },
      ...(jobId !== undefined && { jobId }),
      ...(labels && { labels }),
      ...(sizeBytes !== null && { sizeBytes }),
      ...(sha256 !== null && { sha256 }),
    });
  });
}

interface OpenSource {
  /** Its bytes from the beginning; more than once only where their number is known. */
  read(): AsyncIterable<Uint8Array>;
  sizeBytes: number | null;
  ownName: string;
}

async function openSource(source: Source, signal: AbortSignal): Promise<OpenSource> {
  if ("stdin" in source) return { read: () => source.stdin, sizeBytes: null, ownName: "stdin" };
  if ("bytes" in source) return { read: () => source.bytes, sizeBytes: null, ownName: "bytes" };
  const { file } = source;
  const found = await stat(file);
  if (!found.isFile()) throw new Failure(`${file} is not a file`, { exitCode: exitCodes.usage });
  const read = () => createReadStream(file, { highWaterMark: 256 * 1024, signal });
  return { read, sizeBytes: found.size, ownName: path.basename(file) };
}

async function digestOf(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of bytes) hash.update(part);
  return hash.digest("hex");
}

/** Writes an artifact's bytes to a file, which is there as a whole or not at all; `-` is standard output. */
export function download(client: Client, terminal: Terminal, artifact: Artifact, file: string): Promise<void> {
  return untilInterrupted(async (signal) => {
    const { body } = await client.artifacts.content(artifact.id, { signal });
    const bytes = verified(withProgress(terminal, body, `reading ${artifact.name}`, artifact.size_bytes), artifact);
    if (file !== "-") return write(file, bytes);
    for await (const chunk of bytes) {
      terminal.out.write(chunk);
      await terminal.out.drained();
      if (terminal.closed.aborted) return;
    }
  });
}

async function write(file: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const fresh = `${file}.part-${randomBytes(4).toString("hex")}`;
  try {
    await using handle = await open(fresh, "wx");
    for await (const chunk of bytes) await handle.writeFile(chunk);
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}

async function* verified(bytes: AsyncIterable<Uint8Array>, { sha256, id }: Artifact): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  for await (const chunk of bytes) {
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest("hex") !== sha256)
    throw new Failure(`the bytes of ${id} came damaged`, { exitCode: exitCodes.broken });
}

async function* withProgress(
  terminal: Terminal,
  bytes: AsyncIterable<Uint8Array>,
  what: string,
  sizeBytes: number | null,
): AsyncGenerator<Uint8Array> {
  using progress = createProgress(terminal.err);
  const of = sizeBytes === null ? "" : ` of ${formatBytes(sizeBytes)}`;
  let done = 0;
  let saidAt = performance.now();
  for await (const chunk of bytes) {
    yield chunk;
    done += chunk.length;
    if (performance.now() - saidAt < sayEveryMs) continue;
    saidAt = performance.now();
    progress.say(`${visible(what)}: ${formatBytes(done)}${of}`);
  }
}

/** Runs it until it ends or somebody presses Ctrl-C; then it is given up and cleaned up after. */
async function untilInterrupted<T>(act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  using interrupt = interrupted();
  const over = new AbortController();
  let isInterrupted = false;
  void interrupt.pressed.then(() => {
    isInterrupted = true;
    over.abort();
  });
  try {
    return await act(over.signal);
  } catch (error) {
    if (isInterrupted) throw new Failure("given up; nothing of it is left", { exitCode: 130, cause: error });
    throw error;
  }
}

const types: Readonly<Record<string, string>> = {
  ".csv": "text/csv",
  ".gz": "application/gzip",
  ".html": "text/html",
  ".jpg": "image/jpeg",
  ".json": "application/json",
  ".md": "text/markdown",
  ".pdf": "application/pdf",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".tar": "application/x-tar",
  ".txt": "text/plain",
  ".zip": "application/zip",
};

/** The media type that a file's ending stands for. */
function typeOf(name: string): string {
  return types[path.extname(name).toLowerCase()] ?? "application/octet-stream";
}
