import { describe, expect, it } from "vitest";
import { cutDocument, cutNote, type Passage } from "./cut.ts";

const words = (count: number, word = "word") => Array.from({ length: count }, (_, i) => `${word}${i}`).join(" ");
const countWords = (text: string) => text.match(/\S+/g)?.length ?? 0;

/** Every passage is the bytes and the lines that it says. */
function assertExact(text: string, passages: readonly Passage[]): void {
  const bytes = Buffer.from(text);
  const lines = text.split("\n");
  let end = 0;
  for (const passage of passages) {
    expect(bytes.subarray(...passage.bytes).toString("utf8")).toBe(passage.text);
    const [first, last] = passage.lines;
    expect(bytes.subarray(0, passage.bytes[0]).toString().split("\n").length).toBe(first);
    expect(passage.text.split("\n").length).toBe(last - first + 1);
    expect(lines.slice(first - 1, last).join("\n")).toContain(passage.text);
    expect(passage.bytes[0]).toBeGreaterThanOrEqual(end);
    end = passage.bytes[1];
  }
}

/** No word is lost between passages. */
function assertWhole(text: string, passages: readonly Passage[]): void {
  expect(passages.flatMap((passage) => passage.text.match(/\S+/g) ?? []).join("")).toBe(text.replaceAll(/\s+/g, ""));
}

describe("a document", () => {
  it.each<[string, string, string[]]>([
    ["of one line", "hello", ["hello"]],
    ["without a last newline", "# A\n\none\n\ntwo", ["# A\n\none\n\ntwo"]],
    ["with a last newline", "one\n", ["one"]],
    [
      "of CRLF lines",
      "# A\r\n\r\none\r\ntwo\r\n\r\n# B\r\n\r\nthree\r\n",
      ["# A\r\n\r\none\r\ntwo", "# B\r\n\r\nthree"],
    ],
    ["with a byte order mark", "\uFEFF# A\n\none\n", ["\uFEFF# A\n\none"]],
    ["of pages", "# A\none\n\ftwo\n\n\f\f# B\n\fthree", ["# A\none", "two", "# B", "three"]],
    ["of a page that only ends", "\fone\n\f\n", ["one"]],
    ["of code over two pages", "```\none\n\ftwo\n```\n", ["```\none", "two\n```"]],
    ["of headings alone", "# A\n## B\n### C\n", ["# A\n## B\n### C"]],
    ["of a heading below a heading", "# A\n\n## B\n\none\n\n## C\ntwo", ["# A\n\n## B\n\none", "## C\ntwo"]],
    ["with a heading right behind text", "one\n# A\ntwo", ["one", "# A\ntwo"]],
    [
      "with a # in code",
      "# A\n\n```sh\n# no heading\n\necho\n```\n\ntwo",
      ["# A\n\n```sh\n# no heading\n\necho\n```\n\ntwo"],
    ],
    ["with a fence in a longer fence", "````\n```\n# no\n````\n# B", ["````\n```\n# no\n````", "# B"]],
    ["with a fence that never ends", "a\n\n```\n# no\n\nmore", ["a\n\n```\n# no\n\nmore"]],
    ["with a # and no space", "#tag one\n\ntwo", ["#tag one\n\ntwo"]],
    ["of a line break in other scripts", "日本語\n\nüñí 🚪\n", ["日本語\n\nüñí 🚪"]],
    ["of blank lines", " \n\n", [" \n\n"]],
  ])("%s is cut exactly", (_, text, expected) => {
    const passages = cutDocument(text);
    expect(passages.map((passage) => passage.text)).toEqual(expected);
    assertExact(text, passages);
  });

  it("names the headings above each passage", () => {
    const passages = cutDocument("# Boat\n\nintro\n\n## Engine\n\noil\n\n### Pump\n\ngrease\n\n## Hull\n\npaint\n");
    expect(passages.map(({ headings }) => headings)).toEqual([
      ["Boat"],
      ["Boat", "Engine"],
      ["Boat", "Engine", "Pump"],
      ["Boat", "Hull"],
    ]);
  });

  it("is cut at paragraphs where they still fit together, else inside them at lines", () => {
    const text = [words(90, "a"), words(90, "b"), words(90, "c"), `${words(150, "d")}\n${words(150, "e")}`].join(
      "\n\n",
    );
    const passages = cutDocument(text);
    expect(passages.map((passage) => passage.text[0])).toEqual(["a", "c", "d", "e"]);
    assertExact(text, passages);
    assertWhole(text, passages);
  });

  it.each([
    ["a line of a thousand words", words(1000)],
    ["a word that never ends", "x".repeat(10_000)],
    ["a word of pairs that never ends", "🚪".repeat(5_000)],
    ["long words of other scripts", `${"日本".repeat(3_000)} ${"語".repeat(3_000)}`],
    ["of headings alone", "# heading of some words\n".repeat(5_000)],
    ["with a heading that never ends", `# ${words(2_000)}`],
    ["with a heading of spaces", `# ${" ".repeat(200_000)}x`],
    ["long lines of code", `\`\`\`\n${words(300)}\n${words(300)}\n\`\`\`\n`],
  ])("with %s is cut there, and no passage is longer than it may be", (_, text) => {
    const passages = cutDocument(text);
    assertExact(text, passages);
    assertWhole(text, passages);
    for (const passage of passages) {
      expect(countWords(passage.text)).toBeLessThanOrEqual(260);
      expect(passage.text.length).toBeLessThanOrEqual(2_300);
      expect(passage.text.isWellFormed()).toBe(true);
    }
  });

  it("of any shape is cut exactly and whole", () => {
    let seed = 11;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const parts = [
      "# A",
      "### B ##",
      "word",
      "ünd",
      "🚪",
      "\n",
      "\n",
      "\r\n",
      "\n\n",
      " ",
      "\t",
      "\f",
      "\n\f",
      "```",
      "~~~~",
      words(120),
      "x".repeat(700),
    ];
    for (let i = 0; i < 300; i++) {
      const text = Array.from({ length: 1 + random(40) }, () => parts[random(parts.length)]).join("");
      const passages = cutDocument(text);
      assertExact(text, passages);
      assertWhole(text, passages);
    }
  });
});

describe("a note", () => {
  it("is whole, whatever it looks like, as long as it is short", () => {
    const text = "# A\n\none\n\n# B\n\ntwo\n\n";
    expect(cutNote(text)).toMatchObject([{ text: text.trimEnd(), lines: [1, 7], headings: [] }]);
  });

  it("is cut as a document when it is long", () => {
    const text = `${words(150)}\n\n${words(150)}`;
    expect(cutNote(text)).toHaveLength(2);
  });
});
