// `aether run` against the whole system: output, exit codes, Ctrl-C, and what a restart in the middle must not change.
import { once } from "node:events";
import type { Job } from "@aether/contracts";
import { waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installation, lines, missingBackend, startInstallation, waitForOutput } from "./_cli.ts";

const missing = missingBackend();
const sh = (script: string) => ["--", "sh", "-c", script];

describe.skipIf(missing)(`aether run${missing ? `: ${missing}` : ""}`, () => {
  let aether: Installation;
  beforeAll(async () => {
    aether = await startInstallation();
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
  });

  const newestJob = async (): Promise<Job> => {
    const { stdout } = await aether.run(["ps", "-a", "--limit", "1", "--json"]);
    const { items }: { items: Job[] } = JSON.parse(stdout);
    if (!items[0]) throw new Error("there is no job");
    return items[0];
  };

  it("gives stdout, stderr and the exit code of the job, and nothing else", async () => {
    expect(await aether.run(["run", ...sh("echo out; echo err >&2; exit 3")])).toEqual({
      code: 3,
      stdout: "out\n",
      stderr: "err\n",
    });
    expect(await aether.run(["run", "true"])).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it("gives every byte as it was written", async () => {
    const { stdout } = await aether.run(["run", ...sh("printf '\\377\\000a\\nb\\r\\n\\nno newline'")], {
      encoding: "latin1",
    });
    expect(stdout).toBe("\xff\x00a\nb\r\n\nno newline");
  });

  it("gives a long log whole and in order", async () => {
    const { stdout } = await aether.run(["run", ...sh("seq 1 50000")]);
    expect(stdout).toBe(Array.from({ length: 50_000 }, (_, i) => `${i + 1}\n`).join(""));
  });

  it.each([
    ["128 and the signal for a signal", ["run", ...sh("kill -9 $$")], 137, /failed \(SIGKILL\)/],
    ["124 for a timeout", ["run", "--timeout", "300ms", "sleep", "60"], 124, /timed out: .* timeout of 300ms/],
    [
      "125 for a denial",
      ["run", "--timeout", "8d", "true"],
      125,
      /denied by limit-timeout\n.*\n {2}request req_\w+\n$/,
    ],
    ["2 for an option that nobody knows", ["run", "--memroy", "1g", "true"], 2, /Unknown option '--memroy'/],
    ["2 for a value that is none", ["run", "--memory", "lots", "true"], 2, /--memory: must be a size/],
    ["2 without a command", ["run", "--name", "x"], 2, /COMMAND is missing/],
  ])("exits with %s", async (_, args, code, message) => {
    const result = await aether.run(args);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toMatch(message);
  });

  it("says that the memory ran out", async () => {
    const result = await aether.run(["run", "--memory", "16m", ...sh("x=$(head -c 64m /dev/zero | tr '\\0' x)")]);
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain("failed (oom killed)");
  });

  it("sends stdin up to the limit, and refuses what is over it or no text", async () => {
    const most = "x".repeat(128 * 1024);
    expect((await aether.run(["run", "-i", "wc", "-c"], { input: most })).stdout.trim()).toBe("131072");
    const over = await aether.run(["run", "-i", "cat"], { input: `${most}y` });
    expect(over).toMatchObject({ code: 2, stdout: "" });
    expect(over.stderr).toContain("over the 128 KiB");
    const binary = await aether.run(["run", "-i", "cat"], { input: Buffer.from([0xff, 0xfe]) });
    expect(binary).toMatchObject({ code: 2, stdout: "" });
    expect((await aether.run(["run", "cat"], { input: "not asked for" })).stdout).toBe("");
  });

  it("passes environment, folder, name and labels", async () => {
    const { stdout } = await aether.run(
      ["run", "-e", "A=1", "-e", "HERE", "-w", "/workspace/x", "--name", "n", "-l", "k=v", ...sh("echo $A $HERE $PWD")],
      { env: { HERE: "2" } },
    );
    expect(stdout).toBe("1 2 /workspace/x\n");
    expect(await newestJob()).toMatchObject({ name: "n", labels: { k: "v" } });
  });

  it("runs it again with --retry", async () => {
    const script = 'echo attempt $AETHER_ATTEMPT; [ "$AETHER_ATTEMPT" = 2 ]';
    expect(await aether.run(["run", "--retry", "3", ...sh(script)])).toMatchObject({
      code: 0,
      stdout: "attempt 1\nattempt 2\n",
    });
  });

  it("with --json is a line for the job, its frames, and a line for its end", async () => {
    const { code, stdout } = await aether.run(["run", "--json", ...sh("echo hi; exit 4")]);
    const [accepted, line, eof, ended, ...rest] = lines<Record<string, unknown>>(stdout);
    expect(accepted).toMatchObject({ type: "job", job: { state: "queued" } });
    expect(line).toMatchObject({ seq: 1, stream: "stdout", data: "hi" });
    expect(eof).toMatchObject({ type: "eof", exit_code: 4 });
    expect(ended).toMatchObject({ type: "job", job: { state: "failed", exit_code: 4 } });
    expect([rest, code]).toEqual([[], 4]);
  });

  it("stops the job on Ctrl-C and has the exit code that the job chose", async () => {
    const running = aether.start(["run", ...sh("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")]);
    await waitForOutput(running, "up");
    running.child.kill("SIGINT");
    const { code, stdout, stderr } = await running.ended;
    expect({ code, stdout }).toEqual({ code: 7, stdout: "up\nbye\n" });
    expect(stderr).toMatch(/stopping job_\w+; Ctrl-C again kills it/);
    expect((await newestJob()).state).toBe("stopped");
  });

  it("kills the job on a second Ctrl-C", async () => {
    const running = aether.start(["run", ...sh("trap '' TERM; echo up; while :; do sleep 0.05; done")]);
    await waitForOutput(running, "up");
    running.child.kill("SIGINT");
    await waitFor("the first to be heard", () => running.stderr().includes("stopping"));
    running.child.kill("SIGINT");
    expect((await running.ended).code).toBe(137);
    expect((await newestJob()).state).toBe("killed");
  });

  it("leaves the job behind on a third Ctrl-C", async () => {
    const running = aether.start(["run", "--pool", "nobody", "true"]);
    const id = await waitFor("the job to be queued", async () => {
      const job = await newestJob();
      return job.state === "queued" && job.id;
    });
    // Frozen, the gateway answers neither stop nor kill.
    const gateway = aether.pidOf("gateway");
    process.kill(gateway, "SIGSTOP");
    try {
      for (const said of ["stopping", "killing", "left behind"]) {
        running.child.kill("SIGINT");
        await waitFor(said, () => running.stderr().includes(said));
      }
      expect((await running.ended).code).toBe(130);
    } finally {
      process.kill(gateway, "SIGCONT");
    }
    expect(await aether.run(["kill", id])).toMatchObject({ code: 0, stdout: `${id}\n` });
  });

  it("stops the job when nobody reads its output any more", async () => {
    const running = aether.start(["run", "yes"]);
    await waitForOutput(running, "y\n");
    running.child.stdout?.destroy();
    const [code] = await once(running.child, "exit");
    expect(code).toBe(141);
    await waitFor("the job to stop", async () => (await newestJob()).state === "stopped");
  });

  it("goes on where it was when the gateway is killed in the middle", async () => {
    const running = aether.start(["run", ...sh("for i in $(seq 1 60); do echo $i; sleep 0.05; done; exit 9")]);
    await waitForOutput(running, "\n10\n");
    process.kill(aether.pidOf("gateway"), "SIGKILL");
    const { code, stdout, stderr } = await running.ended;
    expect(stdout).toBe(Array.from({ length: 60 }, (_, i) => `${i + 1}\n`).join(""));
    expect({ code, stderr }).toEqual({ code: 9, stderr: "" });
  });

  it("returns with the id when detached", async () => {
    const { code, stdout } = await aether.run(["run", "-d", ...sh("sleep 0.2; exit 5")]);
    expect(stdout).toMatch(/^job_\w+\n$/);
    expect(code).toBe(0);
    expect(await aether.run(["wait", stdout.trim()])).toEqual({ code: 5, stdout: "5\n", stderr: "" });
    const asJson = await aether.run(["run", "-d", "--json", "true"]);
    expect(JSON.parse(asJson.stdout)).toMatchObject({ spec: { command: ["true"] } });
  });
});
