// Cuts a text into passages: at headings, then at paragraphs and whole code blocks, then at lines, then at words, each of at
// most some 200 words. A passage is an exact piece of the text: its bytes are those of the source between two offsets, and its
// lines those that an editor numbers. Line ends are "\n" or "\r\n" and belong to no passage's last line.
// A line that begins with a form feed begins a page, which no passage goes beyond.

/** A piece of a text; offsets are bytes of its UTF-8, lines count from 1. */
export interface Passage {
  /** The headings above it, outermost first. */
  headings: readonly string[];
  text: string;
  lines: [first: number, last: number];
  bytes: [from: number, to: number];
}

/** A span of the text in UTF-16 units. */
interface Span {
  from: number;
  to: number;
}
interface Block extends Span {
  lines: Span[];
  heading: { level: number; text: string } | null;
}
interface Piece extends Span {
  headings: readonly string[];
}

const wordsMax = 200;
const unitsMax = 2_000;
/** A longer line is text; and on longer ones the pattern would take its time. */
const headingMax = 300;
const headingPattern = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*$/;

/** Passages of a document, in order. */
export function cutDocument(text: string): Passage[] {
  const pieces = gather(text, toBlocks(text));
  return place(text, pieces.length > 0 ? pieces : [{ from: 0, to: text.length, headings: [] }]);
}

/** A note is one passage, unless it is longer than one may be. */
export function cutNote(text: string): Passage[] {
  if (!fits(text)) return cutDocument(text);
  return place(text, [{ from: 0, to: text.trimEnd().length, headings: [] }]);
}

const fits = (text: string) => text.length <= unitsMax && countWords(text) <= wordsMax;

function countWords(text: string): number {
  return text.match(/\S+/g)?.length ?? 0;
}

function toLines(text: string): Span[] {
  const lines: Span[] = [];
  for (let from = 0; from < text.length; ) {
    const found = text.indexOf("\n", from);
    const end = found === -1 ? text.length : found;
    const to = end > from && text[end - 1] === "\r" ? end - 1 : end;
    while (text[from] === "\f") from++;
    lines.push({ from, to: Math.max(from, to) });
    from = end + 1;
  }
  return lines;
}

/** Headings, paragraphs and fenced code; blank lines are between them. */
function toBlocks(text: string): Block[] {
  const blocks: Block[] = [];
  let open: Block | null = null;
  let fence: string | null = null;
  for (const line of toLines(text)) {
    if (text[line.from - 1] === "\f") open = fence = null;
    const words = text.slice(line.from, line.to).replace(/^\uFEFF/, "");
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(words)?.[1];
    const heading = fence !== null || words.length > headingMax ? null : headingPattern.exec(words);
    if (fence === null && (heading || mark || words.trim() === "")) open = null;
    if (fence === null && words.trim() === "") continue;
    if (!open) {
      open = { ...line, lines: [], heading: heading && { level: heading[1]?.length ?? 1, text: heading[2] ?? "" } };
      blocks.push(open);
    }
    open.lines.push(line);
    open.to = line.to;
    if (fence !== null && mark?.startsWith(fence) && words.trim() === mark) {
      fence = null;
      open = null;
    } else if (fence === null && mark) fence = mark;
    else if (heading) open = null;
  }
  return blocks;
}

/** Puts blocks of one section together as long as they fit, and takes apart what does not fit alone. */
function gather(text: string, blocks: readonly Block[]): Piece[] {
  const pieces: Piece[] = [];
  const above: { level: number; text: string }[] = [];
  let open = null as (Piece & { isHeading: boolean }) | null;
  const append = (span: Span) => {
    const isSamePage = open !== null && !text.slice(open.to, span.from).includes("\f");
    if (open && isSamePage && (open.isHeading || fits(text.slice(open.from, span.to)))) {
      open.to = span.to;
      open.isHeading = false;
    } else {
      open = { from: span.from, to: span.to, headings: above.map((heading) => heading.text), isHeading: false };
      pieces.push(open);
    }
  };
  for (const block of blocks) {
    if (block.heading) {
      while ((above.at(-1)?.level ?? 0) >= block.heading.level) above.pop();
      above.push(block.heading);
      // A heading right below another stays with it.
      if (!open?.isHeading || !fits(text.slice(open.from, block.to))) open = null;
      append(block);
      if (open) Object.assign(open, { isHeading: true, headings: above.map((heading) => heading.text) });
    } else if (fits(text.slice(block.from, block.to))) append(block);
    else for (const span of block.lines.flatMap((line) => toSpans(text, line))) append(span);
  }
  return pieces;
}

/** A line, or the parts of one that is too long, cut between words and, where a word is too long, between characters. */
function toSpans(text: string, line: Span): Span[] {
  if (fits(text.slice(line.from, line.to))) return [line];
  const spans: Span[] = [];
  let words = 0;
  for (const { index, 0: word } of text.slice(line.from, line.to).matchAll(/\S+/g)) {
    for (let at = line.from + index; at < line.from + index + word.length; ) {
      const last = spans.at(-1);
      const to = charEnd(text, Math.min(at + unitsMax, line.from + index + word.length));
      if (last && words < wordsMax && to - last.from <= unitsMax) {
        last.to = to;
        words++;
      } else {
        spans.push({ from: at, to });
        words = 1;
      }
      at = to;
    }
  }
  return spans;
}

/** The offset, or the one before where it would part a surrogate pair. */
function charEnd(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  return at < text.length && unit >= 0xdc00 && unit <= 0xdfff ? at - 1 : at;
}

/** Spans in ascending order as passages with their lines and bytes, counted in one pass. */
function place(text: string, pieces: readonly Piece[]): Passage[] {
  let at = 0;
  let byte = 0;
  let line = 1;
  const advance = (to: number) => {
    const part = text.slice(at, to);
    byte += Buffer.byteLength(part);
    for (let end = part.indexOf("\n"); end !== -1; end = part.indexOf("\n", end + 1)) line++;
    at = to;
    return { byte, line };
  };
  return pieces.map(({ from, to, headings }) => {
    const first = advance(from);
    const last = advance(to);
    return {
      headings,
      text: text.slice(from, to),
      lines: [first.line, last.line],
      bytes: [first.byte, last.byte],
    };
  });
}
