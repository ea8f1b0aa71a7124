// What an idle Aether takes: the proportional set size (shared pages divided among those who share them) of every process.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createClient, createUnixTransport } from "@aether/client";
import { tempDir, waitFor } from "@aether/testkit";
import type { Figure } from "./measure.ts";

const MIB = 1024;
const aetherd = join(import.meta.dirname, "../apps/aetherd/src/main.ts");
const aimMib = 350;

export async function benchMemory(): Promise<Figure[]> {
  using home = tempDir();
  execFileSync("chmod", ["755", home.path]);
  const child = spawn(process.execPath, [aetherd, "--home", home.path], { stdio: "ignore" });
  try {
    const client = createClient(createUnixTransport(join(home.path, "run/aetherd.sock")));
    await waitFor("aetherd to be up", async () => (await client.health()).status === "up", 30_000);
    for (let n = 0; n < 50; n++) await client.jobs.list();
    const processes = descendants(child.pid ?? 0).map((pid) => ({ name: nameOf(pid), mib: pssKib(pid) / MIB }));
    const total = processes.reduce((sum, { mib }) => sum + mib, 0);
    const note = processes.map(({ name, mib }) => `${name} ${Math.round(mib)}`).join(", ");
    return [
      {
        name: "idle memory of everything (PSS)",
        value: total,
        unit: "MiB",
        ratio: total / aimMib,
        aim: `≤ ${aimMib} MiB`,
        met: total <= aimMib,
        note,
      },
    ];
  } finally {
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  }
}

function descendants(pid: number): number[] {
  const parents = new Map<number, number[]>();
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    const parent = Number(/^PPid:\t(\d+)$/m.exec(read(`/proc/${name}/status`))?.[1] ?? 0);
    parents.set(parent, [...(parents.get(parent) ?? []), Number(name)]);
  }
  const below = (of: number): number[] => [of, ...(parents.get(of) ?? []).flatMap(below)];
  return below(pid);
}

function pssKib(pid: number): number {
  return Number(/^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);
}

function nameOf(pid: number): string {
  const words = read(`/proc/${pid}/cmdline`).split("\0");
  const main = words.find((word) => word.endsWith(".ts")) ?? words[0] ?? "";
  return main
    .split("/")
    .slice(-3)
    .filter((part) => part !== "src")
    .join("/");
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // it ended just now
  }
}
