import { describe, expect, it } from "vitest";
import { createBuckets } from "./rates.ts";

const ada = "user:1000";

describe("requests a second", () => {
  it("are a second's worth at once, and then as many as the rate", () => {
    let now = 0;
    const take = createBuckets(() => now);
    const many = (count: number, rate: number) => Array.from({ length: count }, () => take(ada, rate));
    expect(many(5, 5)).toEqual([0, 0, 0, 0, 0]);
    expect(take(ada, 5)).toBe(200);
    now = 100;
    expect(take(ada, 5)).toBe(100);
    now = 200;
    expect(many(2, 5)).toEqual([0, 200]);
    now = 3_600_000;
    expect(many(6, 5)).toEqual([0, 0, 0, 0, 0, 200]);
  });

  it("below one are one now, and the next when its time has come", () => {
    let now = 0;
    const take = createBuckets(() => now);
    expect([take(ada, 0.1), take(ada, 0.1)]).toEqual([0, 10_000]);
    now = 9_999;
    expect(take(ada, 0.1)).toBe(1);
    now = 10_000;
    expect(take(ada, 0.1)).toBe(0);
  });

  it("are each principal's own, and of those who are many only the latest are known", () => {
    const take = createBuckets(() => 0, 2);
    expect([take("user:1", 1), take("user:2", 1), take("user:1", 1), take("user:2", 1)]).toEqual([0, 0, 1000, 1000]);
    expect(take("user:3", 1)).toBe(0);
    expect(take("user:2", 1)).toBe(1000);
    expect(take("user:1", 1)).toBe(0);
  });

  it("follow a rate that was changed", () => {
    const take = createBuckets(() => 0);
    for (let i = 0; i < 100; i++) expect(take(ada, 100)).toBe(0);
    expect(take(ada, 100)).toBe(10);
    expect(take(ada, 2)).toBe(500);
  });
});
