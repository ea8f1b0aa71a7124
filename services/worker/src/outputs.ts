// The outputs of an attempt: when its tree is empty, what it left is read by confined tools under its own uid (only regular
// files, no link is followed, nothing is opened that could wait) and stored as artifacts before its end is reported. The tree is
// empty, so nothing changes between the look and the read.
import { opendir } from "node:fs/promises";
import { basename, matchesGlob } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { ArtifactName, type AttemptEvent, type Claim, type JobArtifact, limits, ProblemError } from "@aether/contracts";
import type { Room } from "@aether/sandbox";
import type { Logger } from "@aether/telemetry";
import type { Transfers } from "./transfers.ts";

type Ended = Extract<AttemptEvent, { event: "ended" }>;
export type Outputs = Pick<Ended, "artifacts" | "outputs">;

/** A file as it was found; its path is bytes, written as latin1. */
interface Found {
  path: string;
  sizeBytes: number;
  type: string;
}

const listMaxBytes = 16 * 1024 * 1024;
const retryMs = 1000;
/** Where nothing is said: everything in /outputs, hidden files as well. */
const everything = { matches: () => true, type: "application/octet-stream" };

/** Too much, or what cannot be stored: the fault that the job's end carries. */
class OutputFault extends Error {
  readonly fault: "output_limit" | "output_lost";

  constructor(fault: OutputFault["fault"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "OutputFault";
    this.fault = fault;
  }
}

/** Stores what the attempt left; `wanted` says whether anybody still waits for it. */
export async function collectOutputs(
  claim: Claim,
  transfers: Transfers,
  room: Room | null,
  wanted: () => boolean,
  log: Logger,
): Promise<Outputs> {
  const artifacts: JobArtifact[] = [];
  try {
    if (room && (claim.spec.outputs !== null || !(await isEmpty(room.outputs))))
      await storeAll(await findOutputs(claim, room), { claim, transfers, room, wanted, log }, artifacts);
    return { artifacts, outputs: null };
  } catch (error) {
    const known =
      error instanceof OutputFault ? error : new OutputFault("output_lost", wordsOf(error), { cause: error });
    log.warn({ err: error, fault: known.fault }, "the outputs are not all stored");
    return { artifacts, outputs: { fault: known.fault, message: known.message.slice(0, 2000) } };
  }
}

/** Its folder is root's and stays what it is; what is in it is not opened. */
async function isEmpty(folder: string): Promise<boolean> {
  await using entries = await opendir(folder);
  return (await entries.read()) === null;
}

async function findOutputs({ spec }: Claim, room: Room): Promise<Found[]> {
  const rules = spec.outputs?.map(toRule) ?? [everything];
  const places = spec.outputs === null ? ["/outputs"] : ["/outputs", "/workspace"];
  const tool = room.run(["find", ...places, "-xdev", "-type", "f", "-printf", "%s %p\\0"]);
  const [text] = await Promise.all([readList(tool.stdout), tool.ended]);
  const found = text.split("\0").flatMap((line) => {
    const at = line.indexOf(" ");
    const path = line.slice(at + 1);
    const rule = at > 0 ? rules.find(({ matches }) => matches(path)) : undefined;
    return rule ? [{ path, sizeBytes: Number(line.slice(0, at)), type: rule.type }] : [];
  });
  requireWithinLimits(found);
  return found.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

function toRule({ path, type }: { path: string; type: string }) {
  const pattern = Buffer.from(path.startsWith("/") ? path : `/workspace/${path}`).toString("latin1");
  return { matches: (found: string) => matchesGlob(found, pattern), type };
}

async function readList(stdout: Readable): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stdout as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > listMaxBytes) throw new OutputFault("output_limit", "there are too many files to look through");
    parts.push(part);
  }
  return Buffer.concat(parts).toString("latin1");
}

function requireWithinLimits(found: readonly Found[]): void {
  if (found.length > limits.jobOutputs)
    throw new OutputFault("output_limit", `there are ${found.length} outputs, and ${limits.jobOutputs} may be`);
  const large = found.find(({ sizeBytes }) => sizeBytes > limits.artifactBytes);
  if (large) throw new OutputFault("output_limit", `${toText(large.path)} has more than ${limits.artifactBytes} bytes`);
  const total = found.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
  if (total > limits.artifactsPerJobBytes)
    throw new OutputFault("output_limit", `the outputs have more than ${limits.artifactsPerJobBytes} bytes`);
}

interface Parts {
  claim: Claim;
  transfers: Transfers;
  room: Room;
  wanted(): boolean;
  log: Logger;
}

/** Stores file after file; what fails because somebody is away is gone on with from that file, for a while. */
async function storeAll(found: readonly Found[], parts: Parts, artifacts: JobArtifact[]): Promise<void> {
  const giveUpAt = performance.now() + limits.outputsPatienceMs;
  while (artifacts.length < found.length) {
    try {
      await storeRest(found.slice(artifacts.length), parts, artifacts);
    } catch (error) {
      if (!parts.wanted()) throw new OutputFault("output_lost", "it was ended before its outputs were stored");
      if (!isPassing(error) || performance.now() > giveUpAt) throw error;
      parts.log.info({ err: error }, "an output was not taken, trying again");
      await delay(retryMs);
    }
  }
}

/** One tool gives the bytes of all files behind each other; their sizes are known. */
async function storeRest(files: readonly Found[], { claim, transfers, room }: Parts, artifacts: JobArtifact[]) {
  async function* names() {
    yield Buffer.from(files.map(({ path }) => `${path}\0`).join(""), "latin1");
  }
  const tool = room.run(["xargs", "-0", "-r", "cat", "--"], { stdin: names() });
  tool.ended.catch(() => {}); // met at the end, or the reason why a file came too short
  const take = createSplitter(tool.stdout);
  try {
    for (const { path, sizeBytes, type } of files) {
      const name = ArtifactName.safeParse(basename(toText(path)));
      const output = { path, name: name.success ? name.data : "output", type, size_bytes: sizeBytes };
      const { id, sha256 } = await transfers.give(claim, output, take(sizeBytes));
      artifacts.push({ id, path: toText(path), size_bytes: sizeBytes, sha256 });
    }
  } finally {
    tool.stdout.destroy();
  }
  await tool.ended;
}

/** Cuts a stream into pieces of given sizes, one after the other. */
function createSplitter(stdout: Readable): (sizeBytes: number) => AsyncGenerator<Uint8Array, void, void> {
  const parts: AsyncIterator<Buffer> = stdout[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  return async function* take(sizeBytes) {
    for (let left = sizeBytes; left > 0; ) {
      if (rest.length === 0) {
        const next = await parts.next();
        if (next.done) throw new Error("a file came shorter than it was found");
        rest = next.value;
      }
      const piece = rest.subarray(0, left);
      rest = rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  };
}

/** Whether it may be taken a moment later. A quota that is used up says nothing of when it will not be. */
function isPassing(error: unknown): boolean {
  if (!(error instanceof ProblemError) || error.slug === "artifacts-full") return false;
  if (error.slug === "too-many-requests") return error.problem.retry_after_ms !== undefined;
  return error.problem.status >= 503 || error.slug === "conflict";
}

function wordsOf(error: unknown): string {
  return error instanceof ProblemError ? `outputs could not be stored: ${error.message}` : "outputs could not be read";
}

const toText = (path: string) => Buffer.from(path, "latin1").toString("utf8");
