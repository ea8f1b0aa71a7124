// A spawned program finds what it was given and nothing of its maker's: descriptors, environment, folder, signals, session.
import { closeSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { closeOnExecAll, createPipe } from "../src/native.ts";
import { type ProcessExit, reapProcess, spawnProcess } from "../src/spawn.ts";

/** Runs a shell script with its output in a pipe. */
async function run(
  script: string,
  environment: Record<string, string> = {},
): Promise<{ out: string; exit: ProcessExit }> {
  const input = openSync("/dev/null", "r");
  const output = createPipe(null);
  closeOnExecAll();
  const pid = spawnProcess({
    command: ["/bin/sh", "-c", script],
    descriptors: [input, output.write, output.write],
    environment,
  });
  closeSync(input);
  closeSync(output.write);
  const out = await text(new Socket({ fd: output.read, readable: true, writable: false }));
  return { out, exit: await reapProcess(pid) };
}

describe("spawnProcess", () => {
  it("gives the environment it was told, the root folder and no other descriptor", async () => {
    // The last one is how ls reads the list.
    const { out, exit } = await run("echo $A; pwd; exec ls /proc/self/fd", { A: "b c", PATH: "/usr/bin:/bin" });
    expect(out).toBe("b c\n/\n0\n1\n2\n3\n");
    expect(exit).toEqual({ code: 0, signal: null });
  });

  it("starts a session of its own with every signal as by default", async () => {
    const environment = { PATH: "/usr/bin:/bin" };
    const { out } = await run("exec grep -E '^(SigBlk|SigIgn)' /proc/self/status", environment);
    expect(out).toBe("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    // Node ignores SIGPIPE; a program that inherits that does not end when nobody reads.
    const { out: leader, exit } = await run(
      "read -r pid name state parent group session rest < /proc/$$/stat; test $session -eq $$ && echo leader; kill -PIPE $$",
    );
    expect(leader).toBe("leader\n");
    expect(exit).toEqual({ code: null, signal: 13 });
  });

  it("tells the exit code, and what could not be executed", async () => {
    expect((await run("exit 137")).exit).toEqual({ code: 137, signal: null });
    expect(() => spawnProcess({ command: ["/nowhere/x"], descriptors: [], environment: {} })).toThrow(
      "/nowhere/x: ENOENT",
    );
    await expect(reapProcess(1)).rejects.toThrow("not a child");
  });
});
