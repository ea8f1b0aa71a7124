import { expect, it } from "vitest";
import { formatAgo, formatBytes, formatMs } from "./format.ts";

it.each([
  [0, "0 ms"],
  [31.4, "31 ms"],
  [1234, "1.2 s"],
  [59_949, "59.9 s"],
  [59_960, "1 min"],
  [184_000, "3 min 4 s"],
  [7_500_000, "2 h 5 min"],
  [273_600_000, "3 d 4 h"],
])("%d milliseconds are %s", (ms, text) => {
  expect(formatMs(ms)).toBe(text);
});

it.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [9_437_184, "9.0 MiB"],
  [5 * 1024 ** 4, "5.0 TiB"],
])("%d bytes are %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

it("tells how long ago a time was", () => {
  const now = Date.parse("2026-11-23T10:00:10.000Z");
  expect(formatAgo("2026-11-23T10:00:06.400Z", now)).toBe("4 s ago");
  expect(formatAgo("2026-11-23T09:49:20.000Z", now)).toBe("10 min ago");
  expect(formatAgo("2026-11-20T09:49:20.000Z", now)).toBe("3 d ago");
  expect(formatAgo("2026-11-23T10:00:11.000Z", now)).toBe("just now");
  expect(formatAgo(null, now)).toBe("-");
});
