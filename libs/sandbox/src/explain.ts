// From bwrap's last words to a cause and the one thing that mends it. What is not known here is an ordinary error, which the
// caller may try again; what is known will not go away by itself.
import { readFileSync } from "node:fs";
import type { Problem } from "./driver.ts";

interface Rule {
  pattern: RegExp;
  problem: (message: string) => Problem;
}

const rules: readonly Rule[] = [
  {
    pattern: /creat(e|ing) new namespace|uid map|gid map|RTM_NEWADDR|RTM_NEWLINK|max_user_namespaces/i,
    problem: (message) => ({ cause: `User namespaces are not allowed here (${message}).`, mend: mendNamespaces() }),
  },
  {
    pattern: /mount proc|mount tmpfs|make \/ slave|pivot_root/i,
    problem: (message) => ({
      cause: `The sandbox may not mount its file systems (${message}).`,
      mend: "Run the worker outside a container, or give it --security-opt seccomp=unconfined,systempaths=unconfined.",
    }),
  },
  {
    pattern: /unknown option|invalid option/i,
    problem: (message) => ({
      cause: `This bubblewrap is too old (${message}).`,
      mend: "Install bubblewrap 0.6 or newer.",
    }),
  },
  {
    pattern: /maximum number of arguments/i,
    problem: () => ({
      cause: "The command and the environment have too many entries for bubblewrap.",
      mend: "Use at most 2,500 environment variables.",
    }),
  },
  {
    pattern: /chdir to|mkdir .*(workspace|outputs|tmp)/i,
    problem: (message) => ({
      cause: `The working directory cannot be made (${message}).`,
      mend: "Use another working_dir.",
    }),
  },
];

/** The problem behind bwrap's message, or null when it is none of the known ones. */
export function explain(stderr: string): Problem | null {
  const message = stderr.trim().replace(/^bwrap: /, "");
  return rules.find(({ pattern }) => pattern.test(message))?.problem(message) ?? null;
}

const namespaceSwitches: readonly { file: string; bad: string; mend: string }[] = [
  {
    file: "/proc/sys/kernel/unprivileged_userns_clone",
    bad: "0",
    mend: "Run: sysctl -w kernel.unprivileged_userns_clone=1",
  },
  {
    file: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    bad: "1",
    mend: "Give /usr/bin/bwrap an AppArmor profile with `userns,`, or run: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
  },
  { file: "/proc/sys/user/max_user_namespaces", bad: "0", mend: "Run: sysctl -w user.max_user_namespaces=15000" },
];

function mendNamespaces(): string {
  const found = namespaceSwitches.find(({ file, bad }) => readSwitch(file) === bad);
  return found?.mend ?? "Run the worker outside a container, or allow user namespaces in its security profile.";
}

function readSwitch(file: string): string | null {
  try {
    return readFileSync(file, "latin1").trim();
  } catch {
    // This kernel does not have the switch.
    return null;
  }
}
