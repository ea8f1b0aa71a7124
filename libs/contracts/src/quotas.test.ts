import { describe, expect, it } from "vitest";
import { changeQuota, limitsOf, QuotaChange, type QuotaSetting } from "./quotas.ts";

describe("the limits of a principal", () => {
  const set: Record<string, QuotaSetting> = {
    "user:*": { jobs: 50, cpus: 8 },
    "user:1": { jobs: 5 },
    "agent:*": { requests_per_second: 1 },
  };
  const of = (principal: string) => limitsOf(principal, (name) => set[name] ?? null);

  it("are its own, then its kind's, then those that are shipped", () => {
    expect(of("user:1")).toMatchObject({ jobs: 5, cpus: 8, requests_per_second: 200 });
    expect(of("user:2")).toMatchObject({ jobs: 50, cpus: 8 });
    expect(of("agent:1")).toMatchObject({ jobs: 100, cpus: null, requests_per_second: 1 });
    expect(of("service:memory")).toMatchObject({ jobs: 1000, requests_per_second: null });
  });
});

describe("a change of a quota", () => {
  it("sets what it names, takes back what is null, and leaves the rest", () => {
    const before = { jobs: 5, cpus: 2, memory_bytes: 1024 };
    expect(changeQuota(before, { jobs: null, memory: "1KiB", artifacts: 7, running_jobs: 0 })).toEqual({
      cpus: 2,
      memory_bytes: 1024,
      artifact_bytes: 7,
      running_jobs: 0,
    });
    expect(changeQuota(before, {})).toEqual(before);
    expect(changeQuota(before, { jobs: null, cpus: null, memory: null })).toEqual({});
  });

  it.each([
    { jobs: 10_001 },
    { jobs: 1.5 },
    { running_jobs: -1 },
    { cpus: Number.NaN },
    { memory: "1 parsec" },
    { artifacts: -1 },
    { requests_per_second: 0 },
    { gpus: 1 },
  ])("to %j is refused", (change) => expect(QuotaChange.safeParse(change).success).toBe(false));
});
