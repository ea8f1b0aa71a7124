// The value of a secret: all of standard input or of a file as it is, or one line typed where nobody sees it. Never an
// argument: those show in everybody's `ps` and stay in the shell's history.
import { createReadStream } from "node:fs";
import { exitCodes, Failure } from "./failure.ts";
import type { Output } from "./terminal.ts";

const enter = new Set(["\r", "\n"]);
const erase = new Set(["\u007f", "\b"]);
const interrupt = "\u0003";
const end = "\u0004";

/** Bytes of a stream; throws Failure where they are none or more than `maxBytes`. */
export async function readValue(stream: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw unfit(`the value is over the ${maxBytes / 1024} KiB that a secret may have`);
  }
  if (sizeBytes === 0) throw unfit("the value is empty");
  const value = Buffer.concat(chunks);
  for (const chunk of chunks) chunk.fill(0);
  return value;
}

/** Bytes of a file. */
export async function readValueFile(file: string, maxBytes: number): Promise<Buffer> {
  try {
    return await readValue(createReadStream(file), maxBytes);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${file} cannot be read`, { exitCode: exitCodes.usage, cause: error });
  }
}

/** A line typed at a terminal, which does not show it; throws Failure where it is given up or empty. */
export async function typeValue(stdin: NodeJS.ReadStream, err: Output, prompt: string): Promise<Buffer> {
  err.write(prompt);
  stdin.setRawMode(true);
  stdin.setEncoding("utf8");
  try {
    const typed: string[] = [];
    for await (const text of stdin.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
      for (const letter of text) {
        if (letter === interrupt || (letter === end && typed.length === 0))
          throw new Failure("given up; nothing was set", { exitCode: 130 });
        if (!enter.has(letter) && letter !== end) {
          if (erase.has(letter)) typed.pop();
          else typed.push(letter);
          continue;
        }
        if (typed.length === 0) throw unfit("the value is empty");
        return Buffer.from(typed.join(""));
      }
    }
    throw new Failure("the terminal was closed; nothing was set", { exitCode: exitCodes.usage });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    err.line();
  }
}

function unfit(message: string): Failure {
  return new Failure(message, { exitCode: exitCodes.usage });
}
