import { describe, expect, it } from "vitest";
import { judge, type Look, type WatchState } from "./watch-nats.ts";

const fresh = (): WatchState => ({ lastAnswerAt: 0, lastRestartAt: Number.NEGATIVE_INFINITY, pauseMs: 2_000 });
/** The seconds at which a restart is called for, given what each second's look found. */
function restarts(state: WatchState, seconds: number, answer: (second: number) => Look["answer"]): number[] {
  const all = Array.from({ length: seconds }, (_, index) => index + 1);
  return all.filter((second) => judge(state, { at: second * 1000, answer: answer(second) }));
}

describe("the watch over nats-server", () => {
  it("leaves a sound server alone", () => {
    expect(restarts(fresh(), 300, () => "sound")).toEqual([]);
  });

  it("restarts at the first write error", () => {
    expect(restarts(fresh(), 5, (second) => (second === 3 ? "write-error" : "sound"))).toEqual([3]);
  });

  it("waits longer and longer while the disk stays bad", () => {
    expect(restarts(fresh(), 130, () => "write-error")).toEqual([1, 5, 13, 29, 61, 121]);
  });

  it("restarts after ten seconds without an answer, and gives the new one as long", () => {
    expect(restarts(fresh(), 25, (second) => (second > 2 ? "silent" : "sound"))).toEqual([12, 22]);
  });

  it("bears a server that answers but is not ready", () => {
    expect(restarts(fresh(), 60, () => "unready")).toEqual([]);
  });

  it("forgets the pause after a minute of health", () => {
    const state = fresh();
    restarts(state, 30, () => "write-error");
    expect(
      restarts({ ...state, lastRestartAt: -100_000 }, 3, (second) => (second < 3 ? "sound" : "write-error")),
    ).toEqual([3]);
  });
});
