// Cuts a stream of bytes into whole lines without looking at what they say. What is left over waits for its newline, up to
// the longest line; the pieces of a longer one are marked partial, as is a last line without its newline.

/** Lines of one stream: n lines in `bytes`, each ended by a newline; a partial one is always alone. */
export interface Lines {
  bytes: Buffer;
  lines: number;
  partial: boolean;
}

export interface LineSplitter {
  push(chunk: Buffer): Lines[];
  /** What is left when the stream has ended. */
  end(): Lines[];
}

const newline = 10;

export function createLineSplitter(lineMaxBytes: number): LineSplitter {
  let rest: Buffer[] = [];
  let restBytes = 0;

  function partial(bytes: Buffer): Lines {
    return { bytes: Buffer.concat([bytes, Buffer.from([newline])]), lines: 1, partial: true };
  }

  /** Everything held back, cut into pieces of the longest line; a shorter last piece is held back again unless `all`. */
  function cut(held: Buffer, all: boolean): Lines[] {
    const pieces: Lines[] = [];
    let at = 0;
    while (held.length - at > lineMaxBytes || (all && at < held.length)) {
      pieces.push(partial(held.subarray(at, at + lineMaxBytes)));
      at += lineMaxBytes;
    }
    rest = at < held.length ? [held.subarray(at)] : [];
    restBytes = Math.max(0, held.length - at);
    return pieces;
  }

  return {
    push(chunk) {
      const last = chunk.lastIndexOf(newline);
      if (last < 0) {
        rest.push(chunk);
        restBytes += chunk.length;
        return restBytes > lineMaxBytes ? cut(Buffer.concat(rest), false) : [];
      }
      const first = chunk.indexOf(newline);
      const found: Lines[] = [];
      let from = 0;
      if (restBytes > 0 || first > lineMaxBytes) {
        const line = Buffer.concat([...rest, chunk.subarray(0, first)]);
        found.push(...cut(line, false), {
          bytes: Buffer.concat([...rest, Buffer.from([newline])]),
          lines: 1,
          partial: false,
        });
        from = first + 1;
      }
      if (from <= last) found.push(...whole(chunk.subarray(from, last + 1), lineMaxBytes, partial));
      rest = last + 1 < chunk.length ? [chunk.subarray(last + 1)] : [];
      restBytes = chunk.length - last - 1;
      return found;
    },
    end: () => (restBytes > 0 ? cut(Buffer.concat(rest), true) : []),
  };
}

/** Whole lines at once where all are short enough, which they are in any chunk up to the longest line. */
function whole(bytes: Buffer, lineMaxBytes: number, partial: (bytes: Buffer) => Lines): Lines[] {
  if (bytes.length <= lineMaxBytes) return [{ bytes, lines: countNewlines(bytes), partial: false }];
  const found: Lines[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(newline, at);
    while (end - at > lineMaxBytes) {
      found.push(partial(bytes.subarray(at, at + lineMaxBytes)));
      at += lineMaxBytes;
    }
    found.push({ bytes: bytes.subarray(at, end + 1), lines: 1, partial: false });
    at = end + 1;
  }
  return found;
}

/** How many newlines there are. */
export function countNewlines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(newline); at >= 0; at = bytes.indexOf(newline, at + 1)) count++;
  return count;
}
