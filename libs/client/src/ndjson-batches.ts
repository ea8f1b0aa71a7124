// NDJSON as it comes from a socket, all complete lines of a chunk at once and parsed at once. One parse and one turn a chunk
// instead of one a line is what lets a log of many short lines through. A last line without its newline is a body that was cut off, and
// is not given.
import { StringDecoder } from "node:string_decoder";

const longestLineChars = 1024 * 1024;

/** The values of the lines of each chunk. */
export async function* readNdjsonBatches(body: AsyncIterable<Uint8Array>): AsyncGenerator<unknown[]> {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  for await (const chunk of body) {
    rest += decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    const end = rest.lastIndexOf("\n");
    if (end >= 0) {
      // JSON holds no raw newline, so each one here ends a value: with commas in their places the lines are an array.
      const lines = rest.slice(0, end).split("\n").filter(Boolean);
      if (lines.length > 0) yield JSON.parse(`[${lines.join(",")}]`);
      rest = rest.slice(end + 1);
    }
    if (rest.length > longestLineChars)
      throw new Error(`a line of the answer is longer than ${longestLineChars} characters`);
  }
}
