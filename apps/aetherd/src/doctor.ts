// `aetherd doctor`: looks at everything that Aether needs and tells of each whether it is well, and if not, why and what mends
// it. It changes nothing, works whether or not Aether runs, and trusts no configuration where the running thing can be asked.

import type { Layout } from "@aether/contracts";
import type { AetherdConfig } from "./config.ts";
import type { Check } from "./doctor-check.ts";
import { checkDaemon, checkNatsServer } from "./doctor-daemon.ts";
import {
  checkAccount,
  checkDisk,
  checkDocuments,
  checkFolders,
  checkIdentity,
  checkKeys,
  checkNode,
} from "./doctor-host.ts";
import { checkCgroups, checkSandbox } from "./doctor-sandbox.ts";

/** Runs every check, prints what they found, and answers the exit code: 1 when something fails. */
export async function runDoctor(layout: Layout, config: AetherdConfig, asJson: boolean): Promise<number> {
  const found = await Promise.all([
    checkNode(),
    checkNatsServer(config),
    checkAccount(),
    checkIdentity(),
    checkFolders(layout),
    checkKeys(layout),
    checkDisk(layout),
    checkCgroups(),
    checkSandbox(config),
    checkDocuments(),
    checkDaemon(layout),
  ]);
  const checks = found.flat();
  const isOk = checks.every(({ status }) => status !== "fail");
  process.stdout.write(asJson ? `${JSON.stringify({ ok: isOk, checks }, null, 2)}\n` : toText(checks));
  return isOk ? 0 : 1;
}

function toText(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks
    .map(({ name, status, detail, mend }) => {
      const line = `${status.padEnd(4)}  ${name.padEnd(width)}  ${detail}\n`;
      return mend === null ? line : `${line}${" ".repeat(width + 8)}mend: ${mend}\n`;
    })
    .join("");
}
