// The demo's job: it is given a file of this checkout on stdin and counts it, with tools that are on every machine, and what
// comes out is compared with the same counted here. Anybody can compare it with `wc` and `sha256sum`.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import type { JobSpecInput } from "@aether/contracts";
import { checkout } from "./place.ts";

const file = "README.md";

const script = [
  "cat >input",
  `echo "in the sandbox: uid $(id -u), network $(awk -F: 'NR > 2 {gsub(/ /, "", $1); print $1}' /proc/net/dev)"`,
  `echo "all there is:" /*`,
  `awk '{ words += NF } END { print NR " lines, " words " words, sum " NR + words }' input`,
  `sha256sum <input | awk '{ print "sha256 " $1 }'`,
].join("\n");

export interface DemoJob {
  readonly spec: JobSpecInput;
  /** The same as a person would type it. */
  readonly typed: string;
  /** Lines that its output must have. */
  readonly expected: readonly string[];
  /** What a person may run to see the same. */
  readonly check: string;
}

/** Makes the job, with what it must answer. */
export function createDemoJob(): DemoJob {
  const bytes = readFileSync(path.join(checkout, file));
  const text = bytes.toString("utf8");
  const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  const words = text.split(/[ \t\n]+/).filter(Boolean).length;
  return {
    spec: {
      command: ["sh", "-ec", script],
      stdin: text,
      name: "demo",
      labels: { demo: "count" },
      resources: { memory: "64MiB", cpus: 0.5, pids: 32, disk: "16MiB" },
      timeout: "30s",
    },
    typed: `aether run -i --name demo --memory 64m --cpus 0.5 --pids-limit 32 --timeout 30s -- sh -ec '…' <${file}`,
    expected: [
      `${lines} lines, ${words} words, sum ${lines + words}`,
      `sha256 ${createHash("sha256").update(bytes).digest("hex")}`,
    ],
    check: `wc ${file}; sha256sum ${file}`,
  };
}
