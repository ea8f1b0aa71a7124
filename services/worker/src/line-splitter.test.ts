import { describe, expect, it } from "vitest";
import { createLineSplitter, type Lines } from "./line-splitter.ts";

const longest = 8;

/** The straightforward way: byte by byte. */
function expected(input: Buffer): { text: string; partial: boolean }[] {
  const lines: { text: string; partial: boolean }[] = [];
  let line: number[] = [];
  const push = (partial: boolean) => {
    lines.push({ text: Buffer.from(line).toString("latin1"), partial });
    line = [];
  };
  for (const byte of input) {
    if (byte === 10) push(false);
    else {
      if (line.length === longest) push(true);
      line.push(byte);
    }
  }
  if (line.length > 0) push(true);
  return lines;
}

function flatten(found: Lines[]): { text: string; partial: boolean }[] {
  return found.flatMap(({ bytes, lines, partial }) => {
    const texts = bytes.toString("latin1").split("\n").slice(0, -1);
    expect(texts).toHaveLength(lines);
    return texts.map((text) => ({ text, partial }));
  });
}

describe("createLineSplitter", () => {
  it("cuts any input the same way, however it is chunked", () => {
    let seed = 1;
    const random = (below: number) => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    for (let round = 0; round < 3000; round++) {
      const input = Buffer.from(Array.from({ length: random(60) }, () => (random(5) === 0 ? 10 : 97 + random(26))));
      const splitter = createLineSplitter(longest);
      const found: Lines[] = [];
      for (let at = 0; at < input.length; ) {
        const size = 1 + random(20);
        found.push(...splitter.push(input.subarray(at, at + size)));
        at += size;
      }
      found.push(...splitter.end());
      expect(flatten(found), JSON.stringify(input.toString("latin1"))).toEqual(expected(input));
    }
  });

  it("keeps whole lines of one chunk together", () => {
    const [lines, ...more] = createLineSplitter(100).push(Buffer.from("a\nb\nc"));
    expect(lines).toMatchObject({ lines: 2, partial: false });
    expect(more).toEqual([]);
  });
});
