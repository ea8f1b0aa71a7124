import { describe, expect, it } from "vitest";
import { visible } from "./visible.ts";

describe("visible text", () => {
  it.each([
    [
      "plain words, 100 % of them; $(rm -rf ~) `id` && 'quoted'",
      "plain words, 100 % of them; $(rm -rf ~) `id` && 'quoted'",
    ],
    ["Grüße, здравствуй, 日本語 🙂", "Grüße, здравствуй, 日本語 🙂"],
    ["red\u001b[31m\r\nnext\u0000\u007f\u009b", "red\\u{1b}[31m\\u{d}\\u{a}next\\u{0}\\u{7f}\\u{9b}"],
    ["a\u202eb\u2066c\u200fd", "a\\u{202e}b\\u{2066}c\\u{200f}d"],
    ["zero\u200bwidth\ufeff\u00ad\u2060", "zero\\u{200b}width\\u{feff}\\u{ad}\\u{2060}"],
    ["no\u00a0break\u2028\u3000", "no\\u{a0}break\\u{2028}\\u{3000}"],
    ["p\u0430ypal.com", "p\\u{430}ypal.com"],
    ["\u03bfk g\u03bf\u03bfgle", "\\u{3bf}k g\\u{3bf}\\u{3bf}gle"],
    ["half \ud800 of one", "half \\u{d800} of one"],
    ["\u{e0041}tag \u{f0000}private", "\\u{e0041}tag \\u{f0000}private"],
    ["a\u0301\u0302\u0303\u0304 -\u0338", "\u00e1\u0302\u0303\\u{304} -\\u{338}"],
    ["हिन्दी", "हिन्दी"],
  ])("%j", (text, shown) => {
    const made = visible(text);
    expect(made).toBe(shown);
    expect(visible(made)).toBe(made);
  });
});
