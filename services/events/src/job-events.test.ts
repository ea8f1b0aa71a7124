// The record of a job that waited for a person, as events.
import { createId, type JobState } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { readJobChange } from "./job-events.ts";

function verbsOf(...states: JobState[]): string[] {
  const id = createId("job");
  const transitions = states.map((to, i) => {
    return { from: states[i - 1] ?? null, to, reason: null, attempt: 0, at: "2026-01-01T00:00:00.000Z", after: i };
  });
  const data = new TextEncoder().encode(JSON.stringify({ id, owner: "user:1", transitions }));
  const change = readJobChange({
    subject: `$KV.jobs.${id}`,
    sequence: 9,
    data,
    time: new Date(),
    header: () => undefined,
  });
  return (change?.happenings ?? []).map(({ type }) => type.split(".")[3] ?? "");
}

describe("events of a job that waits for a person", () => {
  it("tell that it was submitted, then queued by the yes, and not that it runs again", () => {
    expect(verbsOf("awaiting_approval", "queued", "starting", "running", "succeeded")).toEqual([
      "submitted",
      "queued",
      "starting",
      "started",
      "ended",
    ]);
  });

  it("tell that it waits where it is asked about at its start, and how it ended", () => {
    expect(verbsOf("queued", "awaiting_approval", "denied")).toEqual(["submitted", "awaiting_approval", "ended"]);
  });

  it("tell of a retry as of a retry", () => {
    expect(verbsOf("queued", "starting", "queued")).toEqual(["submitted", "starting", "requeued"]);
  });
});
