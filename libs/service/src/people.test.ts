import { describe, expect, it } from "vitest";
import { formatPeople, isAmong, isSomebody, PeopleList, UidRanges } from "./people.ts";

const someone = (uid: number, gid = uid, groups: number[] = []) => ({ uid, gid, groups });

describe("PeopleList", () => {
  it("reads uids, and groups by name and number, and writes them as numbers", () => {
    const people = PeopleList.parse("0, 1000,%root,%42,");
    expect(people).toEqual({ uids: [0, 1000], gids: [0, 42] });
    expect(formatPeople(people)).toBe("0,1000,%0,%42");
    expect(PeopleList.parse(formatPeople(people))).toEqual(people);
  });

  it.each(["ada", "%no-such-group", "-1", "1e3", "01", "4294967295", "%", "1000;2"])("refuses %s", (text) => {
    expect(() => PeopleList.parse(text)).toThrow(/no such user or group/);
  });

  it("finds people by uid, by primary and by supplementary group", () => {
    const people = PeopleList.parse("7,%42");
    expect(isAmong(people, someone(7))).toBe(true);
    expect(isAmong(people, someone(8, 42))).toBe(true);
    expect(isAmong(people, someone(8, 8, [1, 42]))).toBe(true);
    expect(isAmong(people, someone(42, 7, [7]))).toBe(false);
  });
});

describe("UidRanges", () => {
  it("reads numbers and ranges", () => {
    expect(UidRanges.parse("1-59999,65533")).toEqual([
      [1, 59999],
      [65533, 65533],
    ]);
  });

  it.each(["a", "5-", "-5", "9-3", "1-2-3", "4294967295"])("refuses %s", (text) => {
    expect(() => UidRanges.parse(text)).toThrow(/not a uid or a range/);
  });

  it("hold whoever is somebody, never the overflow uid", () => {
    const domain = UidRanges.parse("1-70000");
    expect([0, 1, 65_533, 65_534, 70_000, 70_001].map((uid) => isSomebody(domain, uid))).toEqual([
      ...[false, true, true, false, true, false],
    ]);
    expect([0, 65_534, 70_001].map((uid) => isSomebody(null, uid))).toEqual([true, false, true]);
    expect(isSomebody(UidRanges.parse(""), 0)).toBe(false);
  });
});
