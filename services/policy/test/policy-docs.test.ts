// What docs/policy.md shows is valid, and answers as its cases say.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@aether/testkit";
import { expect, it } from "vitest";
import { testPolicies } from "../src/policy-tests.ts";

const text = readFileSync(join(import.meta.dirname, "../../../docs/policy.md"), "utf8");
const blocks = (language: string) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)\n\`\`\`$`, "gms"))].map(([, block = ""]) => block).join("\n");

it("the documented policies are valid, and every documented case is as it says", async () => {
  using folder = tempDir();
  const policies = join(folder.path, "policies");
  mkdirSync(policies);
  writeFileSync(join(policies, "own.cedar"), blocks("cedar"));
  writeFileSync(join(policies, "own.test"), blocks("text"));
  const report = await testPolicies(policies, [join(policies, "own.test")]);
  expect(report).toMatchObject({ faults: [], warnings: [], policies: { own: 4 } });
  const cases = report.files.flatMap((file) => file.cases);
  expect(cases.filter(({ fault }) => fault !== null)).toEqual([]);
  expect(cases).toHaveLength(7);
});
