// The lease against jobs instances that stand: they take requests and answer none.
import { limits, ProblemError } from "@aether/contracts";
import { silentLog } from "@aether/testkit";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type LeaseParts, startLease } from "./lease.ts";

type Answer = "at-once" | "never" | "gone" | "unavailable";

/** A lease whose n-th renewal is answered as the n-th answer says, and all after those at once. */
async function startWith(answers: Answer[]) {
  const lost: string[] = [];
  const sentAt: number[] = [];
  let deadlineMs = 0;
  const parts: LeaseParts = {
    renew: async ({ wait_ms }) => {
      sentAt.push(Date.now());
      const answer = answers.shift() ?? "at-once";
      if (answer === "never") return new Promise(() => {});
      if (answer === "gone") throw new ProblemError("conflict", { detail: "this incarnation is gone" });
      if (answer === "unavailable") throw new ProblemError("unavailable");
      await new Promise((resolve) => setTimeout(resolve, wait_ms));
      return { orders: [] };
    },
    held: () => [],
    bootNowMs: () => Date.now(),
    writeDeadline: (at) => {
      deadlineMs = at;
    },
    onOrders: () => {},
    onLost: (why) => lost.push(why),
    log: silentLog,
  };
  const starting = startLease(parts);
  await vi.advanceTimersByTimeAsync(1);
  const lease = await starting;
  return { lease, lost, sentAt, deadline: () => deadlineMs };
}

describe("startLease", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("asks again beside a renewal that nobody answers, long before the deadline", async () => {
    const { lease, lost, sentAt, deadline } = await startWith(["at-once", ...Array<Answer>(12).fill("never")]);
    await vi.advanceTimersByTimeAsync(2 * limits.wardenDeadlineMs);
    expect(lost).toEqual([]);
    expect(lease.isHeld()).toBe(true);
    expect(sentAt).toContain(deadline() - limits.wardenDeadlineMs);
  });

  it("counts the deadline from when the renewal was sent that was answered", async () => {
    const { sentAt, deadline } = await startWith(["at-once", "never", "never", "at-once", "never"]);
    await vi.advanceTimersByTimeAsync(limits.heartbeatMs + 1_000);
    expect(deadline()).toBe((sentAt[3] ?? 0) + limits.wardenDeadlineMs);
  });

  it("is lost at its deadline when nobody answers any more", async () => {
    const { lease, lost } = await startWith(["at-once", ...Array<Answer>(100).fill("never")]);
    await vi.advanceTimersByTimeAsync(limits.wardenDeadlineMs - 500);
    expect(lost).toEqual([]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(lost).toEqual(["the lease could not be renewed in time"]);
    expect(lease.isHeld()).toBe(false);
  });

  it("is lost at once when it is told so, also by the second that was asked", async () => {
    const { lost } = await startWith(["at-once", "never", "gone"]);
    await vi.advanceTimersByTimeAsync(limits.heartbeatMs + 1_000);
    expect(lost).toEqual(["this incarnation is gone"]);
  });

  it("tries again when all that were asked have refused", async () => {
    const { lost, lease } = await startWith(["at-once", ...Array<Answer>(20).fill("unavailable")]);
    await vi.advanceTimersByTimeAsync(2 * limits.wardenDeadlineMs);
    expect(lost).toEqual([]);
    expect(lease.isHeld()).toBe(true);
  });
});
