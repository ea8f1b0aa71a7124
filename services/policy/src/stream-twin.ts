// The stream beside the sealed segments. It keeps what is sealed until it needs the room, so most records are there twice: what
// both hold must be the same text, which costs a comparison and not a second verification.
import { parseLine } from "@aether/chain";

export interface StreamTwin {
  /** Holds lines of a segment, the first of which is record `seq`, against the stream. Answers the first that differs, or null. */
  compare(lines: readonly string[], seq: number): Promise<number | null>;
  /** What the stream holds behind record `seq`. */
  rest(seq: number): AsyncGenerator<string[]>;
}

/** Opens the stream for one pass over its lines. */
export async function openTwin(batches: AsyncIterator<string[]>): Promise<StreamTwin> {
  let lines: readonly string[] = [];
  let at = 0;
  const refill = async () => {
    while (at >= lines.length) {
      const next = await batches.next();
      if (next.done) return false;
      [lines, at] = [next.value, 0];
    }
    return true;
  };
  /** Of the line that is compared next. Without an end nothing is compared any more, and all that is left is judged by itself. */
  let twinSeq = (await refill()) ? seqOf(lines[0]) : Number.POSITIVE_INFINITY;

  return {
    async compare(others, seq) {
      for (const [index, other] of others.entries()) {
        if (seq + index !== twinSeq) continue;
        if (at >= lines.length && !(await refill())) twinSeq = Number.POSITIVE_INFINITY;
        else if (lines[at++] === other) twinSeq++;
        else {
          twinSeq = Number.POSITIVE_INFINITY;
          return seq + index;
        }
      }
      return null;
    },
    async *rest(seq) {
      while (await refill()) {
        const left = lines.slice(at).filter((line) => !(seqOf(line) <= seq));
        at = lines.length;
        if (left.length > 0) yield left;
      }
    },
  };
}

/** NaN where it has none, which is not behind anything. */
const seqOf = (line: string | undefined) => Number(parseLine(line ?? "")?.seq);
