import { describe, expect, it } from "vitest";
import { canonicalJson, chainStart, createDraft, faultOf, place, policyActor, prepare } from "./record.ts";

const draft = createDraft({
  kind: "outcome",
  actor: { ...policyActor, uid: 7 },
  action: "job.failed",
  job_id: "job_1",
  resource: { type: "Job", id: "job_1" },
  decision: {
    outcome: "deny",
    reason: 'with "quotes", a \n and a 🦆',
    policies: ["b", "a"],
    approval: null,
    grant: null,
    policy_version: "v",
  },
  provenance: { request_id: "r", digest: null, source: { stream: "KV_jobs", sequence: 7 } },
  outcome: { from: "running", to: "failed", reason: "signal", attempt: 2, at: "2026-11-23T10:00:00.000Z" },
  note: "n",
});

describe("a record", () => {
  it("is written as canonical JSON, whatever its fields hold", () => {
    const { line } = place(prepare(draft), chainStart);
    expect(line).toBe(canonicalJson(JSON.parse(line)));
    const { hash: _, ...rest } = JSON.parse(line) as Record<string, unknown>;
    expect(rest).toEqual({ ...draft, seq: 1, prev: chainStart.hash });
  });

  it("is never larger than it was said to be", () => {
    const { line } = place(prepare(draft), { seq: 9_999_999_999, hash: "f".repeat(64) });
    expect(Buffer.byteLength(line) + 1).toBeLessThanOrEqual(prepare(draft).sizeBytes);
  });

  it("follows the one before, and nothing else", () => {
    const first = place(prepare(draft), chainStart);
    const second = place(prepare(draft), first.end);
    const record = JSON.parse(second.line) as Record<string, unknown>;
    expect(faultOf(record, first.end)).toBeNull();
    expect(faultOf(record, chainStart)).toMatch(/stands where 1 belongs/);
    expect(faultOf({ ...record, prev: "0" }, first.end)).toMatch(/hash of the record before/);
    expect(faultOf({ ...record, note: "changed" }, first.end)).toMatch(/does not have its hash/);
    expect(faultOf({ ...record, added: 1 }, first.end)).toMatch(/does not have its hash/);
  });
});
