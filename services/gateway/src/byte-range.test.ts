import { describe, expect, it } from "vitest";
import { contentDisposition, isNamed, isRangeWanted, parseRange } from "./byte-range.ts";

describe("a range", () => {
  it.each([
    [undefined, 10, null],
    ["bytes=0-0", 10, { first: 0, last: 0 }],
    ["bytes=0-", 10, { first: 0, last: 9 }],
    ["bytes=9-100", 10, { first: 9, last: 9 }],
    ["bytes=-4", 10, { first: 6, last: 9 }],
    ["bytes=-100", 10, { first: 0, last: 9 }],
    ["bytes=10-", 10, "unsatisfiable"],
    ["bytes=-0", 10, "unsatisfiable"],
    ["bytes=0-0", 0, "unsatisfiable"],
    ["bytes=-1", 0, "unsatisfiable"],
    ["bytes=5-4", 10, null],
    ["bytes=-", 10, null],
    ["bytes=0-1,2-3", 10, null],
    ["bytes=a-b", 10, null],
    ["bytes=99999999999999999999-", 10, null],
    ["items=0-1", 10, null],
  ])("%s of %i bytes", (header, size, expected) => {
    expect(parseRange(header, size)).toEqual(expected);
  });

  it("counts only for the bytes that it was asked of", () => {
    expect([undefined, '"a"', '"b"', 'W/"a"', "yesterday"].map((header) => isRangeWanted(header, '"a"'))).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });
});

it("a tag is named by itself, weakly, among others and by a star", () => {
  expect(['"a"', 'W/"a"', '"x", "a"', "*"].map((header) => isNamed(header, '"a"'))).toEqual([true, true, true, true]);
  expect([undefined, "", '"x"', "a"].map((header) => isNamed(header, '"a"'))).toEqual([false, false, false, false]);
});

it.each([
  ["a.txt", 'attachment; filename="a.txt"'],
  ['a"b\\c', "attachment; filename=\"a_b_c\"; filename*=UTF-8''a%22b%5Cc"],
  ["100%41", "attachment; filename=\"100_41\"; filename*=UTF-8''100%2541"],
  ["ö'(1)*", "attachment; filename=\"_'(1)*\"; filename*=UTF-8''%C3%B6%27%281%29%2A"],
])("the name %s is told as %s", (name, expected) => {
  expect(contentDisposition(name)).toBe(expected);
});
