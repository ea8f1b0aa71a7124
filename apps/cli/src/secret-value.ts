// The value of a secret: all of standard input or of a file as it is, or one line typed where nobody sees it. Never an
// argument: those show in everybody's `ps` and stay in the shell's history.
import { createReadStream } from "node:fs";
import { type Asker, askLine, isPerson } from "./ask-line.ts";
import { exitCodes, Failure } from "./failure.ts";

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
export async function typeValue(asker: Asker, name: string): Promise<Buffer> {
  if (!isPerson(asker)) throw unfit("there is no terminal to ask on: give the value as standard input, or with -f");
  const line = await askLine(asker, `${name}: `, { hidden: true });
  if (!line) throw unfit("no value was given");
  return Buffer.from(line);
}

function unfit(message: string): Failure {
  return new Failure(message, { exitCode: exitCodes.usage });
}
