// Process edge of policy tests: `test-main.ts [--json] [--policies DIR] [FILE…]`, started by the command line. It needs no service
// and stores nothing. Exits 0 when everything is as it should be, 1 when not, 2 when a file cannot be read.
import { parseArgs } from "node:util";
import { visible } from "@aether/contracts";
import { type PolicyReport, testPolicies } from "./policy-tests.ts";

const { values, positionals } = parseArgs({
  options: { json: { type: "boolean" }, policies: { type: "string" } },
  allowPositionals: true,
});
try {
  const report = await testPolicies(values.policies ?? null, positionals);
  const { isGood, lines } = describe(report);
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : lines.map(toLine).join(""));
  process.exitCode = isGood ? 0 : 1;
} catch (error) {
  process.stderr.write(toLine(`aether: ${error instanceof Error ? error.message : error}`));
  process.exitCode = 2;
}

function describe({ policies, faults, warnings, files }: PolicyReport): { isGood: boolean; lines: string[] } {
  const count = `${faults.length} ${faults.length === 1 ? "fault" : "faults"}`;
  if (policies === null) return { isGood: false, lines: [...faults, `not valid: ${count}; no case was tried`] };
  const faulty = files.flatMap(({ path, changed, cases }) =>
    cases.flatMap(({ line, text, fault }) =>
      fault === null ? [] : [{ changed, say: `${path}:${line}: ${fault}\n    ${text}` }],
    ),
  );
  const [changes, wrong] = [faulty.filter(({ changed }) => changed), faulty.filter(({ changed }) => !changed)];
  const tried = files.reduce((sum, { cases }) => sum + cases.length, 0);
  const told = `${policies.shipped} shipped and ${policies.own} own policies are valid`;
  const lines = [
    ...changes.map(({ say }) => `changed by your own: ${say}`),
    ...wrong.map(({ say }) => say),
    ...warnings.map((warning) => `warning: ${warning}`),
    `${told}; ${tried - faulty.length} of ${tried} cases are as they say${changes.length > 0 ? `, ${changes.length} shipped ones are changed by your own` : ""}`,
  ];
  return { isGood: wrong.length === 0, lines };
}

function toLine(text: string): string {
  return `${text.split("\n").map(visible).join("\n")}\n`;
}
