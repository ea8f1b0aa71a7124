import { describe, expect, it } from "vitest";
import { alignColumns, quoteCommand, shorten, visible, widthOf } from "./text.ts";

describe("text for a terminal", () => {
  it.each([
    ["\x1b[2Jgone", "\\x1b[2Jgone"],
    ["a\rb\nc\td", "a\\rb\\nc\\td"],
    ["\u009b31m", "\\x9b31m"],
    ["\u202eevil", "\\u{202e}evil"],
    ["a\u200bb", "a\\u{200b}b"],
    ["\ud800", "\\u{d800}"],
    ["ünïcödé 日本", "ünïcödé 日本"],
  ])("shows %j as %j", (raw, shown) => {
    expect(visible(raw)).toBe(shown);
  });

  it("lines up by what a terminal shows", () => {
    expect(widthOf("日本")).toBe(4);
    expect(widthOf("e\u0301")).toBe(1);
    expect(
      alignColumns([
        ["日本", "x"],
        ["abc", "y"],
      ]),
    ).toEqual(["日本  x", "abc   y"]);
    expect(
      alignColumns([
        ["a", ""],
        ["b", "c"],
      ]),
    ).toEqual(["a", "b  c"]);
  });

  it("is cut to a width with an ellipsis", () => {
    expect(shorten("abcdef", 6)).toBe("abcdef");
    expect(shorten("abcdefg", 6)).toBe("abcde…");
    expect(widthOf(shorten("日本語日本語", 6))).toBeLessThanOrEqual(6);
  });

  it("quotes a command as a shell wants it", () => {
    expect(quoteCommand(["sh", "-c", "echo 'a b'"])).toBe(`sh -c 'echo '\\''a b'\\'''`);
    expect(quoteCommand(["printf", ""])).toBe("printf ''");
  });
});
