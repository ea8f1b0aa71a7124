// The commands that look at jobs and end them, and what policy and audit say, against the whole system.
import { type AuditRecord, type CloudEvent, type Health, type Job, services as served } from "@aether/contracts";
import { waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { visibleLines } from "../src/text.ts";
import { type Installation, lines, missingBackend, startInstallation } from "./_cli.ts";

const missing = missingBackend();

describe.skipIf(missing)(`aether${missing ? `: ${missing}` : ""}`, () => {
  let aether: Installation;
  beforeAll(async () => {
    aether = await startInstallation();
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
  });

  const detached = async (...args: string[]) => (await aether.run(["run", "-d", ...args])).stdout.trim();
  const ended = async (...args: string[]) => {
    const id = await detached(...args);
    await aether.run(["wait", id]);
    return id;
  };

  it("logs reads what a job wrote, each stream to its own", async () => {
    const id = await ended("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.02; done; echo bad >&2; printf end");
    const logs = (...args: string[]) => aether.run(["logs", ...args, id]);
    expect(await logs()).toEqual({ code: 0, stdout: "1\n2\n3\nend", stderr: "bad\n" });
    expect(await logs("-f")).toMatchObject({ stdout: "1\n2\n3\nend" });
    expect(await logs("--tail", "1")).toMatchObject({ stdout: "end", stderr: "" });
    expect(await logs("--after", "2", "--stream", "stdout")).toMatchObject({ stdout: "3\nend", stderr: "" });
    expect((await logs("-t", "--after", "4")).stdout).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z end$/);
    expect((await logs("--since", "2020-01-01")).stdout).toBe("1\n2\n3\nend");
    const frames = lines<{ seq?: number; data?: string }>((await logs("--json")).stdout);
    expect(frames.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    expect(lines((await logs("-f", "--format", "ndjson")).stdout).at(-1)).toMatchObject({ type: "eof", last_seq: 5 });
    expect(await logs("--tail", "1", "--after", "1")).toMatchObject({ code: 2 });
  });

  it("ps lists what runs, and with -a what has ended", async () => {
    const done = await ended("--name", "done", "--label", "team=docs", "true");
    const waiting = await detached("--pool", "nobody", "--name", "waiting", "true");
    const ids = async (...args: string[]) =>
      (await aether.run(["ps", "-q", ...args])).stdout.split("\n").filter(Boolean);
    expect(
      await waitFor("the list to show it", async () => (await ids()).includes(waiting) && (await ids())),
    ).not.toContain(done);
    expect(await ids("-a")).toEqual(expect.arrayContaining([done, waiting]));
    expect(await ids("-a", "--filter", "label=team=docs")).toEqual([done]);
    expect(await ids("--filter", "status=succeeded", "--label", "team=docs")).toEqual([done]);
    expect(await ids("-a", "--pool", "nobody", "--state", "queued")).toEqual([waiting]);
    expect(await ids("-a", "--limit", "1")).toHaveLength(1);
    const table = (await aether.run(["ps", "-a"])).stdout.split("\n");
    expect(table[0]).toMatch(/^JOB +NAME +STATE +COMMAND +CREATED +RUNTIME$/);
    expect(table.find((line) => line.startsWith(done))).toMatch(/ done +succeeded +true +/);
    const page: { items: Job[] } = JSON.parse((await aether.run(["ps", "--json"])).stdout);
    expect(page.items.map(({ id }) => id)).toContain(waiting);
    expect(await aether.run(["ps", "--state", "happy"])).toMatchObject({ code: 2 });
    await aether.run(["kill", waiting]);
  });

  it("never lets what a job is called reach the terminal raw", async () => {
    const id = await ended("--label", "note=\x1b[2J\u202e", "--", "printf", "\x1b]0;x\x07");
    for (const args of [
      ["ps", "-a"],
      ["inspect", id],
    ]) {
      const { stdout } = await aether.run(args);
      expect(stdout).toBe(visibleLines(stdout));
      expect(stdout).toContain("\\x1b");
    }
  });

  it("stop and kill end jobs and wait for it", async () => {
    const forever = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"];
    const running = async () => {
      const id = await detached(...forever);
      await waitFor(
        "it to run",
        async () => JSON.parse((await aether.run(["inspect", "--json", id])).stdout).job.state === "running",
      );
      return id;
    };
    const [first, second] = [await running(), await running()];
    expect(await aether.run(["stop", "-t", "0", first])).toMatchObject({ code: 0, stdout: `${first}\n` });
    expect(lines<Job>((await aether.run(["kill", "--json", second])).stdout)).toMatchObject([
      { id: second, state: "killed", signal: "SIGKILL" },
    ]);
    expect((await aether.run(["wait", first, second])).code).toBe(137);
    const unknown = `job_${"0".repeat(26)}`;
    const mixed = await aether.run(["stop", unknown, first]);
    expect(mixed).toMatchObject({ code: 4, stdout: `${first}\n` });
    expect(mixed.stderr).toMatch(/request req_/);
  });

  it("inspect shows the record, the events and the audit records about it", async () => {
    const id = await ended("--memory", "32m", "sh", "-c", "exit 2");
    const found = await waitFor("the outcome to be recorded", async () => {
      const seen: { job: Job; events: CloudEvent[]; audit: AuditRecord[] } = JSON.parse(
        (await aether.run(["inspect", "--json", id])).stdout,
      );
      return seen.audit.some(({ outcome }) => outcome?.to === "failed") && seen;
    });
    expect(found.job).toMatchObject({ id, state: "failed", exit_code: 2 });
    expect(found.audit.map(({ action }) => action)).toEqual(expect.arrayContaining(["submit_job", "start_job"]));
    expect(found.events.map(({ type }) => type.split(".")[3])).toEqual(["submitted", "starting", "started", "ended"]);
    const { stdout } = await aether.run(["inspect", id]);
    expect(stdout).toMatch(/^ {2}[\d:.]+ {2}job\.ended +failed \(exit_nonzero\) exit 2$/m);
    for (const text of ["failed (exit 2)", "memory peak", "32m", "submit_job", "allow by", "running → failed"]) {
      expect(stdout).toContain(text);
    }
  });

  it("events shows what happened, the last of it or as it comes", async () => {
    const intent = "int_01kas4f8m0b2d4f6h8k0m2p4r6";
    const follow = aether.start(["events", "-f", "--type", "job.ended", "--json"]);
    // The follow begins with what comes after it has begun: one job after the other until it has.
    const [event] = await waitFor("a followed event", async () => {
      await ended("--intent", intent, "true");
      return follow.stdout().includes("\n") && lines<CloudEvent>(follow.stdout());
    });
    follow.child.kill();
    await follow.ended;
    expect(event).toMatchObject({ type: "dev.aether.job.ended.v1", intentid: intent, data: { state: "succeeded" } });
    const own = await aether.run(["events", "--job", String(event?.jobid), "--type", "job"]);
    expect(own.stdout.split("\n").map((line) => line.split("  ")[1]?.trim())).toEqual([
      ...["job.submitted", "job.starting", "job.started", "job.ended"],
      undefined,
    ]);
    const last = lines<CloudEvent>((await aether.run(["events", "-n", "2", "--since", "1h", "--json"])).stdout);
    expect(last).toHaveLength(2);
    expect(lines((await aether.run(["events", "-n", "1", "--json"])).stdout)).toHaveLength(1);
    expect(await aether.run(["events", "--intent", "1"])).toMatchObject({ code: 2 });
    expect(await aether.run(["events", "--after", "x"])).toMatchObject({ code: 2 });
  });

  it("metrics shows the numbers of every service, for people and for scrapers", async () => {
    await ended("true");
    const table = (await aether.run(["metrics"])).stdout;
    expect(table).toMatch(/^jobs +jobs\.ended +succeeded +\d+$/m);
    expect(table).toMatch(/^policy +policy\.duration +submit_job allow +\d+ times, mean [\d.]+ ms, 99 % below /m);
    expect((await aether.run(["metrics", "--prometheus"])).stdout).toMatch(/^aether_jobs_started_total\{.*\} \d+$/m);
    const { services } = JSON.parse((await aether.run(["metrics", "--json"])).stdout);
    expect(services).toHaveLength(Object.keys(served).length + 1);
  });

  it("audit and policy answer, as text and as JSON", async () => {
    expect(await aether.run(["run", "--timeout", "8d", "true"])).toMatchObject({ code: 125 });
    const denied = ["audit", "ls", "--decision", "deny", "--action", "submit_job"];
    const listed: { items: AuditRecord[] } = JSON.parse((await aether.run([...denied, "--json"])).stdout);
    expect(listed.items[0]?.decision).toMatchObject({ outcome: "deny", policies: ["limit-timeout"] });
    expect((await aether.run(denied)).stdout).toMatch(/submit_job .* deny by limit-timeout/);
    expect(await aether.run(["audit", "ls", "--kind", "rumour"])).toMatchObject({ code: 2 });
    expect(await aether.run(["audit", "verify"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^intact: /),
    });
    expect(JSON.parse((await aether.run(["audit", "verify", "--json"])).stdout)).toMatchObject({ state: "intact" });
    expect(await aether.run(["audit", "ls", "--since", "someday"])).toMatchObject({ code: 2 });
    expect((await aether.run([...denied, "--until", "1h"])).stdout).not.toMatch(/submit_job/);
    const shown = await aether.run(["audit", "show", listed.items[0]?.id ?? ""]);
    expect(shown).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^action +submit_job$.*^stands in the chain/ms),
    });
    expect(await aether.run(["audit", "show", "aud_00000000000000000000000000"])).toMatchObject({ code: 4 });
    expect(await aether.run(["audit", "archive"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^sealed records \d+ to/),
    });
    expect(await aether.run(["audit", "find"], { input: "of this nothing was decided" })).toMatchObject({ code: 1 });
    expect(await aether.run(["policy", "check", "submit_job", "-c", "timeout_ms=8d"])).toMatchObject({
      code: 1,
      stdout: "deny: no job may run longer than 7 days\npolicies: limit-timeout\n",
    });
    expect(await aether.run(["policy", "check", "submit_job", "-c", "timeout_ms=1h"])).toMatchObject({ code: 0 });
    expect(await aether.run(["policy", "check", "dance"])).toMatchObject({ code: 2 });
  });

  it("health and version tell about every service", async () => {
    const health = await aether.run(["health", "--json"]);
    const { status, services }: Health = JSON.parse(health.stdout);
    expect(services.map(({ name }) => name)).toEqual(expect.arrayContaining(["gateway", "jobs", "policy", "events"]));
    expect(health.code).toBe(status === "up" ? 0 : 1);
    expect((await aether.run(["health"])).stdout).toMatch(/^SERVICE +STATE +VERSION +LATENCY\ngateway +up /);
    expect(JSON.parse((await aether.run(["version", "--json"])).stdout)).toMatchObject({ server: { api: "v0" } });
  });

  it("says what is not there, with the request id last", async () => {
    const { code, stdout, stderr } = await aether.run(["logs", `job_${"0".repeat(26)}`]);
    expect({ code, stdout }).toEqual({ code: 4, stdout: "" });
    expect(stderr).toMatch(/^aether: .*\n(.*\n)+ {2}request req_\w+\n$/);
    const asJson = await aether.run(["inspect", "--json", `job_${"0".repeat(26)}`]);
    expect(JSON.parse(asJson.stderr)).toMatchObject({ type: "urn:aether:problem:not-found", status: 404 });
  });
});
