// The lines of a file as they come from the disk, many at a time: a turn of the event loop for each chunk, not for each line.
import { createReadStream } from "node:fs";

const chunkBytes = 256 * 1024;

/** The lines of a file; the last one also where no newline ends it. */
export async function* readBatches(file: string): AsyncGenerator<string[]> {
  let rest = "";
  for await (const chunk of createReadStream(file, { encoding: "utf8", highWaterMark: chunkBytes })) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    if (lines.length > 0) yield lines;
  }
  if (rest !== "") yield [rest];
}
