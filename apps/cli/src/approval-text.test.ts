// What a person reads before a yes: everything that would happen, and nothing that looks like something else.
import { type Approval, createId } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { printApproval, printOptions, quoteArgv } from "./approval-text.ts";
import type { Output } from "./terminal.ts";

const hostile = "rm -rf /\n\u001b[2K\u202Etxt.exe\u2066";
const at = "2026-01-01T00:00:00.000Z";

function approvalOf(more: Partial<Approval> = {}): Approval {
  return {
    ...{ id: createId("apr"), state: "pending", digest: "sha256:ab", action: "start_job", facts: {}, intent_id: null },
    requester: { principal: "agent:aurora", uid: 61_001, owner: "user:1000" },
    resource: { type: "Job", id: createId("job"), owner: "agent:aurora" },
    subjects: [{ subject: createId("job"), job_id: null, at }],
    why: [{ policy: "agents-ask-for-more", reason: "a person must agree" }],
    ask: `May it? ${hostile}`,
    preview: {
      ...{ kind: "job", words: "run sh", argv: ["sh", "-c", hostile, 'a" "b'], image: null, workdir: "/workspace" },
      ...{ pool: "default", limits: { cpus: 4, memory_bytes: 2 ** 31, timeout_ms: 3_600_000 }, network: [] },
      inputs: [{ path: "/inputs/a", artifact: "art_x", sha256: "cd", size_bytes: 2048 }],
      ...{ env: ["TOKEN"], secrets: [], stdin: null },
    },
    options: [
      { kind: "allow_once", rule: null, lasts_ms: null },
      {
        kind: "allow_always",
        rule: {
          ...{ words: "agent:aurora may start_job for 30d", principal: "agent:aurora", action: "start_job" },
          ...{ resource: { type: "Job", owner: "agent:aurora" }, facts: {}, intent_id: null },
        },
        lasts_ms: 2_592_000_000,
      },
      { kind: "reject_once", rule: null, lasts_ms: null },
    ],
    ...{ default: "reject_once", created_at: at, expires_at: at, answered_at: null, answered_by: null, answer: null },
    ...{ comment: null, grant_id: null, supersedes: null, uses: [], ...more },
  };
}

function printed(print: (out: Output) => void): string {
  let text = "";
  const write = (data: string | Uint8Array) => {
    text += String(data);
  };
  const line = (one = "") => write(`${one}\n`);
  print({ isTerminal: false, columns: 80, write, line, drained: async () => {}, paint: (_, one) => one });
  return text;
}

describe("an approval as text", () => {
  it("says who asks, why, what would run, where, within which limits and on what", () => {
    const text = printed((out) => printApproval(out, approvalOf()));
    for (const part of [
      ...["agent:aurora, who works for user:1000, asks:", "a person must agree (agents-ask-for-more)", "run sh"],
      ...["/workspace, pool default", "cpus 4, memory 2.0 GiB, timeout 1 h", "/inputs/a: art_x, 2.0 KiB, sha256 cd"],
      ...["TOKEN", "by uid 61001", "sha256:ab"],
    ]) {
      expect(text).toContain(part);
    }
    expect(text).toMatch(/network +none/);
  });

  it("holds nothing that moves a cursor, turns letters round or ends a line", () => {
    const text = printed((out) => printApproval(out, approvalOf({ comment: hostile, answered_by: hostile })));
    expect(text).toMatch(/^[ -~\n]+$/);
    expect(text.split("\n").filter((line) => line.startsWith("rm"))).toEqual([]);
  });

  it("quotes each word, so that two words are not one", () => {
    expect(quoteArgv(['a" "b'])).toBe('["a\\" \\"b"]');
    expect(quoteArgv(["a", "b"])).toBe('["a", "b"]');
    expect(quoteArgv(["$(id)", ";", ""])).toBe('["$(id)", ";", ""]');
  });

  it("shows what each answer would allow from then on, and that once remembers nothing", () => {
    const lines = printed((out) => printOptions(out, approvalOf())).split("\n");
    expect(lines[0]).toMatch(/^ {2}once +this, once; nothing is remembered$/);
    expect(lines[1]).toMatch(/^ {2}always +agent:aurora may start_job for 30d$/);
    expect(lines[2]).toMatch(/^ {2}reject +no; nothing is remembered$/);
  });
});
