import { JobSpec, limitsOf, type QuotaLimits } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { fits, nextPlace, nothing, type Place, placeOf, refuseJob, roomOf, usageOf } from "./holding.ts";
import type { Candidate } from "./index-view.ts";
import { accept, claim, requestEnd, type StoredJob } from "./job.ts";
import { pick } from "./placement.ts";

const MIB = 1024 ** 2;
const at = { now: new Date(0), revision: 1 };
const spec = JobSpec.parse({ command: ["true"], resources: { cpus: 0.5, memory: "64MiB" } });
const queued = accept(
  { id: "job_1", owner: "user:1", spec, digest: "", intentId: null, inputs: [], policyVersion: null },
  at.now,
);
const by = { worker: "host-a", incarnation: "wrk_1", secretHash: "x", policyVersion: "v" };
const limits = (some: Partial<QuotaLimits> = {}): QuotaLimits => ({ ...limitsOf("user:1", () => null), ...some });

function required<T>(value: T | null): T {
  if (value === null) throw new Error("it does not apply");
  return value;
}

describe("a place", () => {
  const started = required(claim(queued, by, at));
  const again: StoredJob = { ...started, state: "queued" };

  it("says what the job needs and how far it is, in steps that only grow", () => {
    expect(placeOf(queued)).toEqual([0, 500, 64 * MIB]);
    expect(nextPlace(queued)).toEqual(placeOf(started));
    expect([queued, started, again, required(claim(again, by, at))].map((job) => placeOf(job)?.[0])).toEqual([
      0, 1, 2, 3,
    ]);
  });

  it("ends with the job", () => {
    expect(placeOf(required(requestEnd(queued, "kill", null, at)))).toBeNull();
  });

  it("counts as running from its claim to its end or its next wait", () => {
    const jobs: Record<string, Place> = { a: [0, 500, MIB], b: [1, 1000, MIB], c: [2, 4000, MIB], d: [3, 250, MIB] };
    expect(usageOf({ owner: "user:1", jobs })).toEqual({
      jobs: 4,
      running: 2,
      cpusMilli: 1250,
      memoryBytes: 2 * MIB,
    });
  });
});

describe("one more job", () => {
  const place: Place = [0, 1000, 64 * MIB];

  it.each<[string, Partial<QuotaLimits>, number, string | null]>([
    ["within the limit", { jobs: 2 }, 1, null],
    ["at the limit", { jobs: 2 }, 2, "jobs"],
    ["over a limit that was lowered", { jobs: 2 }, 5, "jobs"],
    ["where none is allowed", { jobs: 0 }, 0, "jobs"],
    ["where none may run", { running_jobs: 0 }, 0, "running_jobs"],
    ["of all the cores there may be", { cpus: 1 }, 0, null],
    ["of more cores than there may be", { cpus: 0.999 }, 0, "cpus"],
    ["of more memory than there may be", { memory_bytes: 64 * MIB - 1 }, 0, "memory_bytes"],
  ])("%s", (_, some, jobs, quota) => {
    expect(refuseJob(place, { ...nothing, jobs }, limits(some))?.quota ?? null).toBe(quota);
  });
});

describe("the room for jobs to start", () => {
  it("is without a limit where nothing limits what runs", () => {
    expect(roomOf({ ...nothing, running: 1000 }, limits())).toBeNull();
    expect(fits({ cpusMilli: 1e6, memoryBytes: 1e15 }, null)).toBe(true);
  });

  it("is what is left, and never below nothing", () => {
    const used = { jobs: 9, running: 3, cpusMilli: 2500, memoryBytes: 0 };
    expect(roomOf(used, limits({ running_jobs: 2, cpus: 3 }))).toMatchObject({ jobs: 0, cpusMilli: 500 });
    expect(fits({ cpusMilli: 1, memoryBytes: 0 }, { jobs: 0, cpusMilli: 500, memoryBytes: 1 })).toBe(false);
    expect(fits({ cpusMilli: 500, memoryBytes: 1 }, { jobs: 1, cpusMilli: 500, memoryBytes: 1 })).toBe(true);
    expect(fits({ cpusMilli: 501, memoryBytes: 1 }, { jobs: 1, cpusMilli: 500, memoryBytes: 1 })).toBe(false);
  });

  it("passes over what does not fit, for what does, of the same owner and of others", () => {
    const candidate = (id: string, owner: string, cpus: number): Candidate => {
      return { id, owner, cpus, memoryBytes: MIB, diskBytes: MIB, revision: 1 };
    };
    const all = [
      ...[candidate("a1", "a", 2), candidate("a2", "a", 1), candidate("a3", "a", 0.5), candidate("a4", "a", 0.5)],
      ...[candidate("b1", "b", 1), candidate("b2", "b", 1)],
    ];
    const free = { cpus: 8, memory_bytes: 100 * MIB, disk_bytes: null, slots: 8 };
    const room = { jobs: 9, cpusMilli: 1500, memoryBytes: 10 * MIB };
    const picked = (max: number) => pick(all, free, max, (owner) => (owner === "a" ? room : null)).map(({ id }) => id);
    expect(picked(8)).toEqual(["a2", "a3", "b1", "b2"]);
    expect(picked(3)).toEqual(["a2", "a3", "b1"]);
  });
});
