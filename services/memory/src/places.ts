// Places in a text: from lines to bytes, and from words to where they stand. Lines count from 1 and end with "\n"; a "\r"
// before it belongs to the line's end.

export interface Place {
  lines: [first: number, last: number];
  /** From the first byte to the one behind the last. */
  bytes: [from: number, to: number];
}

/** The lines from one to another, or to the last there is; null where there is not even the first. */
export function placeOfLines(text: Buffer, first: number, last: number): Place | null {
  let from = 0;
  for (let line = 1; line < first; line++) {
    const end = text.indexOf(10, from);
    if (end < 0 || end + 1 === text.length) return null;
    from = end + 1;
  }
  let line = first;
  let to = endOfLine(text, from);
  for (; line < last && to + 1 < text.length; line++) to = endOfLine(text, to + 1);
  return { lines: [first, line], bytes: [from, text[to - 1] === 13 && to > from ? to - 1 : to] };
}

/** Where words stand in a text, nearest to an offset; null where they do not. */
export function locate(text: Buffer, quote: string, nearBytes: number): Place | null {
  const words = Buffer.from(quote);
  if (words.length === 0) return null;
  const [before, behind] = [text.lastIndexOf(words, nearBytes), text.indexOf(words, nearBytes)];
  const isBehind = before < 0 || (behind >= 0 && behind - nearBytes < nearBytes - before);
  const at = isBehind ? behind : before;
  if (at < 0) return null;
  const first = 1 + countLineEnds(text.subarray(0, at));
  return { lines: [first, first + countLineEnds(words)], bytes: [at, at + words.length] };
}

function endOfLine(text: Buffer, from: number): number {
  const end = text.indexOf(10, from);
  return end < 0 ? text.length : end;
}

function countLineEnds(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) count++;
  return count;
}
