import { describe, expect, it } from "vitest";
import { toPages } from "./pdf.ts";

describe("the text that is told of a PDF", () => {
  it.each<[string, string, object]>([
    ["of one page", "one\ntwo\n\f", { text: "one\ntwo\n", pages: [1] }],
    ["of three", "one\n\ftwo\ntwo\n\fthree\n\f", { text: "one\n\ftwo\ntwo\n\fthree\n", pages: [1, 2, 4] }],
    ["with a page of nothing", "one\n\f\fthree\n\f", { text: "one\n\f\n\fthree\n", pages: [1, 2, 3] }],
    ["of pages without a last line end", "one\ftwo\f", { text: "one\n\ftwo", pages: [1, 2] }],
    ["with controls", "\u0007o\u001b[1mne\u009b\n\f", { text: " o [1mne \n", pages: [1] }],
    ["without words", " \n\f\n\f", { refused: expect.stringMatching(/has no text/) }],
    ["of too many", "a\n\f".repeat(2_001), { refused: expect.stringMatching(/more than 2000 pages/) }],
  ])("%s", (_, told, pages) => {
    expect(toPages(told)).toEqual(pages);
  });
});
