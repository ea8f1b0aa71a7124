import { spawn } from "node:child_process";
import path from "node:path";
import { defineCommand, type Options } from "../command.ts";
import { exitCodes } from "../failure.ts";
import { checkout } from "../place.ts";

const program = path.join(checkout, "services/policy/src/test-main.ts");

const options = {
  policies: { type: "text", value: "DIR", about: "Folder of your policies; where they are in use if absent" },
} as const satisfies Options;

export const policyTest = defineCommand({
  usage: "policy test [OPTION…] [FILE…]",
  about: "Validate policies and hold them against their tests, without a service: before they are put in place",
  options,
  operands: { min: 0, max: Number.POSITIVE_INFINITY, name: "FILE" },
  notes: [
    "Without FILE, every `*.test` beside the policies, the shipped ones among them. A case is a line:\n" +
      "  allow|ask|deny [operator|member|agent|nobody] WHO ACTION [of OWNER] [for PERSON] [with FACT=VALUE…] [labels K=V…] [by POLICY,…]",
    "Exits 0 when the policies are valid and every case is as it says, 1 when not.",
  ],
  examples: ["aether policy test --policies ./new-policies && cp new-policies/* /var/lib/aether/policies/"],
  async run({ values, operands, json, env, layout }) {
    // Policies are policy's business: this only says where they are, and starts the program that knows what they mean.
    const folder = values.policies ?? path.join((await layout()).dataDir, "policies");
    const args = [program, ...(json ? ["--json"] : []), "--policies", path.resolve(folder), "--", ...operands];
    const child = spawn(process.execPath, args, { stdio: "inherit", env });
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => resolve(code ?? exitCodes.broken));
    });
  },
});
