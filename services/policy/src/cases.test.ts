import { describe, expect, it } from "vitest";
import { parseCase, runCases } from "./cases.ts";
import { openEngine } from "./engine.ts";
import { readPolicyFiles } from "./policy-files.ts";
import { testPolicies } from "./policy-tests.ts";

const engine = openEngine(await readPolicyFiles(null));

describe("a case", () => {
  it("says who asks what, about what, with which facts, and what decides", () => {
    const words =
      "ask operator user:0 start_job of user:1 with timeout_ms=7d memory_bytes=2g gpu=true n=-1 hosts=[a:1,b:2] pool=x";
    expect(parseCase(`${words} labels team=docs share= by a, b,c`)).toEqual({
      question: {
        principal: { type: "User", id: "0", roles: ["operator"] },
        action: "start_job",
        resource: { type: "Job", owner: "user:1", labels: { team: "docs", share: "" } },
        context: { timeout_ms: 604_800_000, memory_bytes: 2 ** 31, gpu: true, n: -1, hosts: ["a:1", "b:2"], pool: "x" },
      },
      expected: "ask",
      by: ["a", "b", "c"],
    });
  });

  it.each([
    ["allow user:7 read_job", { type: "User", id: "7", roles: ["member"] }, "user:7"],
    ["allow nobody user:7 read_job", { type: "User", id: "7", roles: [] }, "user:7"],
    ["allow agent:aurora read_job of user:7", { type: "Agent", id: "aurora", roles: ["agent"] }, "user:7"],
    ["allow worker:host-a read_job of nobody", { type: "Worker", id: "host-a", roles: [] }, null],
    ["allow service:memory read_job", { type: "Service", id: "memory", roles: [] }, "service:memory"],
  ])("%s", (text, principal, owner) => {
    expect(parseCase(text).question).toMatchObject({ principal, resource: { owner } });
  });

  it.each([
    ["maybe user:1 read_job", /allow, ask, deny/],
    ["allow user read_job", /'user' is no principal/],
    ["allow user:1 fly", /no action 'fly'/],
    ["allow user:1 read_job user:2", /'user:2' stands where of, for, with, labels, by may stand/],
    ["allow user:1 read_job of a:1 b:2", /one each/],
    ["allow user:1 read_job with timeout", /'timeout' is not name=value/],
    ["allow", /'' is no principal/],
  ])("that is none is refused: %s", (text, message) => {
    expect(() => parseCase(text)).toThrow(message);
    expect(runCases(engine, `\n  ${text}`)).toEqual([{ line: 2, text, fault: expect.stringMatching(message) }]);
  });

  it("is wrong where the answer, or what decides, is another one", () => {
    const text = [
      "# remarks, and empty lines, are no cases",
      "",
      "deny  user:1  read_job                # which policies allow",
      "allow user:1  read_job  by list-and-ask",
      "allow user:1  read_job  by own-jobs",
    ].join("\n");
    const why = "is allow by own-jobs: an owner may do everything with their own jobs";
    expect(runCases(engine, text).map(({ line, fault }) => [line, fault])).toEqual([
      [3, `should be deny, ${why}`],
      [4, `should be allow by list-and-ask, ${why}`],
      [5, null],
    ]);
  });
});

describe("the shipped tests", async () => {
  const { policies, faults, warnings, files } = await testPolicies(null, []);

  it("are all as they say, over policies without a warning", () => {
    const wrong = files.flatMap(({ path, cases }) =>
      cases.flatMap(({ line, text, fault }) => (fault ? [`${path}:${line}: ${text}: ${fault}`] : [])),
    );
    expect({ faults, warnings, wrong }).toEqual({ faults: [], warnings: [], wrong: [] });
    expect(policies?.own).toBe(0);
  });

  it("name every shipped policy as deciding", () => {
    const named = new Set(files.flatMap(({ cases }) => cases.flatMap(({ text }) => parseCase(text).by)));
    expect(engine.policies.map(({ id }) => id).filter((id) => !named.has(id))).toEqual([]);
  });
});
