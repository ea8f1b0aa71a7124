import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type PolicyFiles, readPolicyFiles, shippedPoliciesDir } from "./policy-files.ts";
import { checkPolicies } from "./policy-set.ts";

const shipped = await readPolicyFiles(null);
const withText = (text: string): PolicyFiles => ({ ...shipped, texts: [...shipped.texts, ["/own/a.cedar", text]] });
const faultsOf = (text: string): string[] => {
  try {
    checkPolicies(withText(text));
    return [];
  } catch (error) {
    return (error as Error).message.split("\n");
  }
};
const policy = (id: string, rest: string) => `@id("${id}")\n@reason("r")\n${rest}`;

describe("a set of policies", () => {
  it("tells every fault at once, with its file, its line and what mends it", () => {
    const text = [
      "// remarks with letters of more than one byte: äöü",
      policy("a", "forbid (principal, action, resource)\nwhen { resource.owner == principal.name };"),
      policy("b", 'forbid (principal, action == Aether::Action::"kill_jobs", resource);'),
      '@id("c") permit (principal, action, resource);',
      policy("own-jobs", "permit (principal, action, resource);"),
    ].join("\n");
    expect(faultsOf(text)).toEqual([
      '/own/a.cedar:9: policy c needs a @reason("…")',
      '/own/a.cedar:10: there are two policies with @id("own-jobs"): the other is in jobs.cedar',
      expect.stringMatching(/^\/own\/a\.cedar:5: policy a: unable to guarantee safety of access to optional attribute/),
      expect.stringMatching(/^\/own\/a\.cedar:8: policy b: .*kill_jobs.*did you mean/),
    ]);
  });

  it("tells where what is no Cedar begins", () => {
    expect(faultsOf(`${policy("a", "permit (principal, action, resource);")}\n\npermit (principal\n action);`)).toEqual(
      [expect.stringMatching(/^\/own\/a\.cedar:6: unexpected token/)],
    );
  });

  it("passes what can never decide anything, with a warning", () => {
    const text = policy(
      "never",
      'forbid (principal, action == Aether::Action::"kill_job", resource is Aether::Audit);',
    );
    const { warnings } = checkPolicies(withText(text));
    expect(warnings.length).toBeGreaterThan(0);
    for (const warning of warnings) expect(warning).toMatch(/^\/own\/a\.cedar:1: policy never: /);
  });

  it("knows of each policy what it says, whose it is and where it stands", () => {
    const text = `// one line before\n${policy("mine", "forbid (principal, action, resource);")}`;
    const { notes } = checkPolicies(withText(text));
    expect(notes.get("mine")).toEqual({
      ...{ id: "mine", effect: "forbid", reason: "r", ask: null, timeoutMs: null },
      ...{ origin: "own", file: "a.cedar", line: 2 },
    });
    expect(notes.get("own-jobs")).toMatchObject({ effect: "permit", origin: "shipped", file: "jobs.cedar", line: 3 });
    expect([...notes.values()].filter(({ origin }) => origin === "own")).toHaveLength(1);
    expect(shipped.texts.every(([path]) => path.startsWith(join(shippedPoliciesDir, "/")))).toBe(true);
  });
});
