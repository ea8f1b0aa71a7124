// What `run --input` names, as inputs of a job: an artifact as it is, a file or a folder of this machine stored as one first.
import { spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import path from "node:path";
import type { Client } from "@aether/client";
import type { JobSpecInput } from "@aether/contracts";
import { UsageError } from "./failure.ts";
import type { Terminal } from "./terminal.ts";
import { upload } from "./transfer.ts";

type Input = NonNullable<JobSpecInput["inputs"]>[number];

export interface NamedInput {
  /** An artifact's id, or a path of this machine. */
  source: string;
  destination: string;
}

/** `SOURCE:DESTINATION`, where the destination is a path inside the job; throws UsageError. */
export function parseInput(text: string): NamedInput {
  const [, source, destination] = /^(.+?):(\/(?:inputs|workspace)(?:\/.*)?)$/s.exec(text) ?? [];
  if (source === undefined || destination === undefined)
    throw new UsageError(`--input '${text}' is not SOURCE:/inputs/… or SOURCE:/workspace/…`);
  return { source, destination };
}

/** Stores what is not an artifact yet. */
export async function storeInputs(client: Client, terminal: Terminal, named: readonly NamedInput[]): Promise<Input[]> {
  const inputs: Input[] = [];
  for (const one of named) inputs.push(await storeInput(client, terminal, one));
  return inputs;
}

async function storeInput(client: Client, terminal: Terminal, { source, destination }: NamedInput): Promise<Input> {
  if (/^art_[0-9a-z]{26}$/.test(source)) return { artifact: source, path: destination };
  const isFolder = (await stat(source)).isDirectory();
  const name = path.basename(path.resolve(source));
  if (isFolder) {
    const bytes = packFolder(source);
    const artifact = await upload(client, terminal, { bytes }, { name: `${name}.tar`, type: "application/x-tar" });
    return { artifact: artifact.id, path: destination, unpack: true };
  }
  const artifact = await upload(client, terminal, { file: source }, {});
  return { artifact: artifact.id, path: destination.endsWith("/") ? `${destination}${name}` : destination };
}

/** A folder's content as a tar archive, as it is made; without who owned it. */
async function* packFolder(folder: string): AsyncGenerator<Uint8Array, void, void> {
  const args = ["--create", "--file=-", "--owner=0", "--group=0", "--directory", folder, "."];
  const tar = spawn("tar", args, { stdio: ["ignore", "pipe", "pipe"] });
  let message = "";
  tar.stderr.on("data", (part: Buffer) => {
    message = (message + part).slice(0, 500);
  });
  const ended = new Promise<number | null>((resolve, reject) => tar.once("error", reject).once("close", resolve));
  try {
    for await (const part of tar.stdout as AsyncIterable<Buffer>) yield part;
    if ((await ended) !== 0) throw new Error(`the folder ${folder} could not be packed: ${message.trim()}`);
  } finally {
    tar.kill();
    ended.catch(() => {}); // told above, or given up
  }
}
