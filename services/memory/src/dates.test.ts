import { describe, expect, it } from "vitest";
import { dateRange, dateText } from "./dates.ts";

/** A Thursday. */
const now = new Date("2026-11-26T15:30:00.000Z");

describe("a question's time", () => {
  it.each([
    ["what happened on 2026-05-03?", "2026-05-03", "2026-05-04"],
    ["the call on 3 May 2025", "2025-05-03", "2025-05-04"],
    ["the call on the 3rd of May", "2026-05-03", "2026-05-04"],
    ["on December 24th, 2024", "2024-12-24", "2024-12-25"],
    ["on Dec 24", "2025-12-24", "2025-12-25"],
    ["what did we plan in March 2024", "2024-03-01", "2024-04-01"],
    ["what did we plan in March", "2026-03-01", "2026-04-01"],
    ["in December", "2025-12-01", "2026-01-01"],
    ["today", "2026-11-26", "2026-11-27"],
    ["Yesterday's soup", "2026-11-25", "2026-11-26"],
    ["last week", "2026-11-16", "2026-11-23"],
    ["this week", "2026-11-23", "2026-11-30"],
    ["last month", "2026-10-01", "2026-11-01"],
    ["last year", "2025-01-01", "2026-01-01"],
    ["3 days ago", "2026-11-23", "2026-11-24"],
    ["2 months ago", "2026-09-01", "2026-10-01"],
    ["on Monday", "2026-11-23", "2026-11-24"],
    ["last Thursday", "2026-11-19", "2026-11-20"],
    ["during 2023", "2023-01-01", "2024-01-01"],
  ])("%s is %s to %s", (question, from, to) => {
    const range = dateRange(question, now);
    const day = (ms: number | undefined) => new Date(ms ?? Number.NaN).toISOString().slice(0, 10);
    expect([day(range?.fromMs), day(range?.toMs)]).toEqual([from, to]);
  });

  it.each(["may I have the march?", "31-02-26", "9999-99-99", "the year 2000 bug", "", "march on"])(
    "%s is none",
    (question) => expect(dateRange(question, now)).toBeNull(),
  );

  it("is found by the words of an entry's date", () => {
    expect(dateText("2026-05-03T10:00:00.000Z")).toBe("2026-05-03 3 may 2026 sunday");
  });
});
