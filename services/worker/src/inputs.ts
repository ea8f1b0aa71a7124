// The inputs of an attempt, put on its disk before anything of it runs. Bytes are held against the digest that was pinned when
// the job was submitted. Files come first, into folders that are all ours; archives, whose content is anybody's, are unpacked
// behind them by a confined tool, so that no link of theirs can lead root anywhere.
import { createHash } from "node:crypto";
import { chmod, chown, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { type Claim, ProblemError } from "@aether/contracts";
import type { Room } from "@aether/sandbox";
import type { Transfers } from "./transfers.ts";

type Input = Claim["spec"]["inputs"][number];

/** An input cannot be had, and another try would not get it either. */
export class InputMissing extends Error {
  constructor(why: string, options?: ErrorOptions) {
    super(why, options);
    this.name = "InputMissing";
  }
}

/** Puts every input in its place; throws InputMissing. */
export async function fillInputs(claim: Claim, transfers: Transfers, room: Room): Promise<void> {
  const inOrder = claim.spec.inputs.toSorted((a, b) => Number(a.unpack) - Number(b.unpack));
  for (const input of inOrder) {
    try {
      if (claim.spec.attach && !input.path.startsWith("/inputs/"))
        throw new InputMissing("what stands in an agent's folder could lead it anywhere");
      const bytes = await readInput(claim, input, transfers);
      await (input.unpack ? unpack(room, input.path, bytes) : writeInput(room, input.path, bytes));
    } catch (error) {
      throw toMissing(input, error);
    }
  }
}

async function readInput(claim: Claim, { artifact: id }: Input, transfers: Transfers) {
  const pinned = claim.inputs.find(({ artifact }) => artifact === id);
  const { artifact, bytes } = await transfers.take(claim, id);
  if (artifact.sha256 !== pinned?.sha256) throw new InputMissing("it is not what it was when the job was submitted");
  return verified(bytes, artifact.sha256);
}

async function* verified(bytes: AsyncIterable<Uint8Array>, sha256: string): AsyncGenerator<Uint8Array, void, void> {
  const hash = createHash("sha256");
  for await (const chunk of bytes) {
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest("hex") !== sha256) throw new InputMissing("its bytes are damaged");
}

/** A file under /inputs is root's and read-only; one under /workspace is the job's own. */
async function writeInput(room: Room, path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const [, top, ...steps] = path.split("/");
  const isOwn = top === "workspace";
  const base = isOwn ? room.workspace : room.inputs;
  for (let depth = 1; depth < steps.length; depth++) {
    const folder = join(base, ...steps.slice(0, depth));
    await mkdir(folder).catch(ignoreExisting);
    await (isOwn ? chown(folder, room.uid, room.uid) : chmod(folder, 0o755));
  }
  const file = join(base, ...steps);
  await using handle = await open(file, "wx", 0o600);
  for await (const chunk of bytes) await handle.writeFile(chunk);
  if (isOwn) await handle.chown(room.uid, room.uid);
  await handle.chmod(isOwn ? 0o644 : 0o444);
}

async function unpack(room: Room, path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  await ended(room.run(["mkdir", "-p", "--", path], { writes: true }));
  await ended(room.run(["tar", "-x", "-f", "-", "--no-same-owner", "-C", path], { writes: true, stdin: bytes }));
}

async function ended(tool: ReturnType<Room["run"]>): Promise<void> {
  tool.stdout.resume();
  await tool.ended;
}

function toMissing({ artifact, path, unpack: isArchive }: Input, error: unknown): unknown {
  const because = (why: string) => new InputMissing(`input ${artifact} for ${path}: ${why}`, { cause: error });
  if (error instanceof InputMissing) return because(error.message);
  if (error instanceof ProblemError && error.slug === "not-found") return because("there is no such artifact");
  if (codeOf(error) === "ENOSPC") return because("the job's disk is too small for it");
  if (codeOf(error) === "EEXIST" || codeOf(error) === "ENOTDIR") return because("another input is in its place");
  if (isArchive && error instanceof Error && !(error instanceof ProblemError)) return because(error.message);
  return error;
}

function ignoreExisting(error: unknown): void {
  if (codeOf(error) !== "EEXIST") throw error;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
