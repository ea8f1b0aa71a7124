// Agents from the command line, and who is who by what aetherd is told, against the whole system.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Agent, WhoAmI } from "@aether/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installation, lines, missingBackend, run, startInstallation, waitForOutput } from "./_cli.ts";

const missing = missingBackend() ?? (process.getuid?.() === 0 ? null : "agents need a disk, which needs root");
const small = ["--cpus", "0.5", "--memory", "64m", "--disk", "16m", "--timeout", "1m"];

describe.skipIf(missing)(`aether agents${missing ? `: ${missing}` : ""}`, () => {
  let aether: Installation;
  beforeAll(async () => {
    aether = await startInstallation({ AETHER_OPERATORS: "0,%aether", AETHER_UID_DOMAIN: "0-49999" });
  });
  afterAll(() => aether[Symbol.asyncDispose]());

  it("are made, listed, shown and removed", async () => {
    expect(await aether.run(["agents", "add", ...small, "scout"])).toEqual({ code: 0, stdout: "scout\n", stderr: "" });
    expect((await aether.run(["agents", "ls"])).stdout).toMatch(/^AGENT +OWNER .*\nscout +user:0 +0\.5 +64m +16m +1m /);
    const shown = await aether.run(["agents", "show", "scout"]);
    expect(shown.stdout).toMatch(/^scout\n {2}owner +user:0\n(.*\n)* {2}run it +aether agent run scout -- COMMAND\n$/);
    const [agent] = lines<Agent>((await aether.run(["agents", "show", "--json", "scout"])).stdout);
    expect(agent).toMatchObject({ name: "scout", owner: "user:0", limits: { cpus: 0.5, timeout: "1m" } });
    expect(await aether.run(["agents", "rm", "scout"])).toMatchObject({ code: 0, stdout: "scout\n" });
    expect(await aether.run(["agents", "show", "scout"])).toMatchObject({ code: 4 });
    expect((await aether.run(["agents", "ls", "-q"])).stdout).toBe("");
  });

  it("with a name or a limit that is none are refused before anything is sent", async () => {
    const refused = await aether.run(["agents", "add", "--memory", "much", "../scout"]);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/name: must be 1 to 32.*; memory: /) });
    expect(await aether.run(["agents", "add"])).toMatchObject({ code: 2 });
    expect(await aether.run(["agent", "run", "scout"])).toMatchObject({ code: 2 });
  });

  it("run a program with its output, its exit code and the options on either side of the name", async () => {
    await aether.run(["agents", "add", ...small, "runner"]);
    const script = "curl -sS --unix-socket $AETHER_SOCKET http://aether/v0/whoami; echo; cat; echo err >&2; exit 3";
    const ran = await aether.run(["agent", "run", "-i", "runner", "--cpus", "0.25", "--", "sh", "-c", script], {
      input: "given",
    });
    expect([ran.code, ran.stderr]).toEqual([3, "err\n"]);
    const [who = "", input] = ran.stdout.split("\n");
    expect(JSON.parse(who)).toMatchObject({ name: "agent:runner", owner: "user:0", known_by: "socket" });
    expect(input).toBe("given");
    const [job] = JSON.parse(
      (await aether.run(["ps", "-a", "--json", "-f", "label=aether.agent=runner"])).stdout,
    ).items;
    expect(job).toMatchObject({ owner: "user:0", spec: { attach: { agent: "runner" }, resources: { cpus: 0.25 } } });
    expect(await aether.run(["agent", "run", "--cpus", "1", "runner", "true"])).toMatchObject({ code: 2 });
  });

  it("end with Ctrl-C, as any job does", async () => {
    await aether.run(["agents", "add", ...small, "stopped"]);
    const running = aether.start(["agent", "run", "stopped", "--", "sh", "-c", "echo ready; exec sleep 100"]);
    await waitForOutput(running, "ready");
    running.child.kill("SIGINT");
    expect(await running.ended).toMatchObject({ code: 143, stderr: expect.stringContaining("stopping job_") });
  });

  it("are told apart from people, whom aetherd knows by the numbers that it is given", async () => {
    expect((await aether.run(["whoami"])).stdout).toMatch(/^user:0\n {2}roles +operator\n/);
    const gid = Number(/^aether:[^:]*:(\d+):/m.exec(readFileSync("/etc/group", "utf8"))?.[1]);
    const socket = join(aether.home, "run/aetherd.sock");
    const whoami = (uid: number): WhoAmI =>
      JSON.parse(
        execFileSync("curl", ["-sS", "--unix-socket", socket, "http://aether/v0/whoami"], {
          uid,
          gid,
          encoding: "utf8",
        }),
      );
    expect(whoami(41_001)).toMatchObject({ name: "user:41001", roles: ["operator"] });
    expect(whoami(50_001)).toMatchObject({ name: "user:50001", roles: [] });
  });

  it("and people that are none keep aetherd from starting, with the variable that says so", async () => {
    const env = { AETHER_HOME: join(aether.home, "other"), AETHER_OPERATORS: "0,%no-such-group" };
    const { code, stderr } = await run(["up", "-d"], { env });
    expect(code).not.toBe(0);
    expect(stderr).toContain("AETHER_OPERATORS: there is no such user or group: %no-such-group");
  });
});
