// `aether approvals` and `aether grants` against the whole system, on a terminal and without one. Here one person has everything
// under one uid, so that every yes needs the secret that only the person knows.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Approval, Grant, Job } from "@aether/contracts";
import { waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installation, lines, missingBackend, startInstallation } from "./_cli.ts";

const missing = missingBackend();
const main = join(import.meta.dirname, "../src/main.ts");
const secret = "only the person knows";
const policy = `
@id("large-needs-a-yes")
@reason("more than one CPU needs a person's yes")
@ask("May this use more than one CPU?")
forbid (principal, action == Aether::Action::"start_job", resource)
when { context has cpus_milli && context.cpus_milli > 1000 }
unless { context has approval };
`;
const large = ["run", "--cpus", "2", "--memory", "64m", "--"];

describe.skipIf(missing)(`aether approvals${missing ? `: ${missing}` : ""}`, () => {
  let aether: Installation;
  beforeAll(async () => {
    aether = await startInstallation();
    const folder = join(aether.home, "data/policies");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "own.cedar"), policy);
    await waitFor("the policies to be loaded", async () => {
      const { code } = await aether.run([...large, "true"]);
      return code !== 0;
    });
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
  });

  const list = async (...args: string[]): Promise<Approval[]> =>
    JSON.parse((await aether.run(["approvals", "ls", "--json", ...args])).stdout).items;

  /** The command line on a terminal, as util-linux makes one. */
  function onTerminal(...args: string[]) {
    const words = [process.execPath, main, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
    const child = spawn("script", ["-qec", words, "/dev/null"], { env: { ...process.env, AETHER_HOME: aether.home } });
    let shown = "";
    child.stdout.on("data", (chunk: Buffer) => {
      shown += chunk.toString();
    });
    const ended = once(child, "close").then(([code]): number => code);
    const type = async (prompt: string, text: string) => {
      await waitFor(`the prompt ${prompt}`, () => shown.includes(prompt), 20_000);
      child.stdin.write(text);
    };
    return { type, ended, shown: () => shown };
  }

  /** Runs the command line with a secret on descriptor 3. */
  async function withSecret(args: string[], text: string): Promise<{ code: number; stderr: string }> {
    const file = join(aether.home, "secret");
    writeFileSync(file, `${text}\n`, { mode: 0o600 });
    const fd = openSync(file, "r");
    const child = spawn(process.execPath, [main, ...args], {
      env: { ...process.env, AETHER_HOME: aether.home },
      stdio: ["ignore", "ignore", "pipe", fd],
    });
    closeSync(fd);
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const [code] = await once(child, "close");
    return { code, stderr };
  }

  /** A job that waits, left by `aether run -d`. */
  async function asks(...command: string[]): Promise<{ id: string; approval: Approval }> {
    const { stdout } = await aether.run(["run", "-d", ...large.slice(1), ...command]);
    const id = stdout.trim();
    const [approval] = await list("--job", id);
    if (!approval) throw new Error("the job waits for nothing");
    return { id, approval };
  }
  const stateOf = async (id: string): Promise<Job> =>
    JSON.parse((await aether.run(["inspect", "--json", id])).stdout).job;

  it("where nobody could answer a job is refused at once, with what would mend it", async () => {
    const { code, stderr } = await aether.run([...large, "true"]);
    expect(code).toBe(125);
    expect(stderr).toContain("nobody can be asked");
    expect(await list("-a")).toEqual([]);
  });

  it("a secret is set without being shown, twice the same, and is needed to be changed", async () => {
    const terminal = onTerminal("approvals", "secret");
    await terminal.type("so far", "\r");
    await terminal.type("New secret", `${secret}\r`);
    await terminal.type("Once more", `${secret}\r`);
    expect(await terminal.ended).toBe(0);
    expect(terminal.shown()).toContain("is set");
    expect(terminal.shown()).not.toContain(secret);
    expect((await withSecret(["approvals", "secret", "--secret-fd", "3"], "another secret")).code).toBe(3);
  });

  it("a run says whom to ask, waits, and goes on after the yes", async () => {
    const running = aether.start([...large, "sh", "-c", "echo ran; exit 3"]);
    await waitFor("the question", () => running.stderr().includes("aether approvals answer apr_"), 20_000);
    expect(running.stderr()).toContain("waits for a person: more than one CPU needs a person's yes");
    const [approval] = await list();
    expect((await aether.run(["ps"])).stdout).toContain("awaiting approval");
    const terminal = onTerminal("approvals", "answer", approval?.id ?? "");
    await terminal.type("leave it open", "once\r");
    await terminal.type("Your secret", `${secret}\r`);
    expect(await terminal.ended).toBe(0);
    expect(terminal.shown()).toContain('["sh", "-c", "echo ran; exit 3"]');
    expect(terminal.shown()).not.toContain(secret);
    expect(await running.ended).toMatchObject({ code: 3, stdout: "ran\n" });
  });

  it("Enter alone allows nothing, a wrong word is asked again, Ctrl-C leaves it open", async () => {
    const { id, approval } = await asks("true");
    const entering = onTerminal("approvals", "answer", approval.id);
    await entering.type("leave it open", "y\r");
    await entering.type("is none of them", "\r");
    expect(await entering.ended).toBe(130);
    const interrupting = onTerminal("approvals", "answer", approval.id);
    await interrupting.type("leave it open", "\u0003");
    expect(await interrupting.ended).toBe(130);
    expect((await stateOf(id)).state).toBe("awaiting_approval");
    expect((await aether.run(["approvals", "deny", approval.id, "--comment", "not today"])).stdout).toBe(
      `${approval.id} denied\n`,
    );
    await waitFor("the end", async () => (await stateOf(id)).state === "denied");
    expect((await stateOf(id)).message).toContain("not today");
  });

  it("without a terminal the answer must be said, and the exit codes say what became of it", async () => {
    const { id, approval } = await asks("echo", "scripted");
    expect((await aether.run(["approvals", "answer", approval.id])).code).toBe(2);
    expect((await aether.run(["approvals", "answer", approval.id, "yes"])).code).toBe(2);
    expect((await aether.run(["approvals", "allow", approval.id])).code).toBe(2);
    const allow = ["approvals", "allow", approval.id, "--secret-fd", "3"];
    expect((await withSecret(allow, "a guess at it")).code).toBe(3);
    expect((await withSecret([...allow, "--digest", "sha256:00"], secret)).code).toBe(5);
    expect(await withSecret(allow, secret)).toEqual({ code: 0, stderr: "" });
    expect((await withSecret(allow, secret)).code).toBe(5);
    expect((await aether.run(["approvals", "show", approval.id.replace(/...$/, "000")])).code).toBe(4);
    await waitFor("the end", async () => (await stateOf(id)).state === "succeeded");
    expect((await aether.run(["inspect", id])).stdout).toContain(approval.id);
  });

  it("watch asks about one after the other, and drops the question that another answers", async () => {
    const first = await asks("echo", "first");
    const terminal = onTerminal("approvals", "watch");
    await waitFor("the question", () => terminal.shown().includes('"first"'), 20_000);
    await aether.run(["approvals", "deny", first.approval.id]);
    await waitFor("the question to go", () => terminal.shown().includes(`${first.approval.id} is denied`), 20_000);
    const second = await asks("echo", "second");
    await waitFor("the next question", () => terminal.shown().includes('"second"'), 20_000);
    await terminal.type('"second"', "reject\r");
    await waitFor("the answer", () => terminal.shown().includes(`${second.approval.id} denied`), 20_000);
    await terminal.type("nothing waits", "\u0003");
    expect(await terminal.ended).toBe(130);
    await waitFor("both to be over", async () => (await list()).length === 0);
  });

  it("watch without a terminal says what comes and goes, one value a line", async () => {
    const watching = aether.start(["approvals", "watch", "--json"]);
    const seen = () => lines<Approval>(watching.stdout().slice(0, watching.stdout().lastIndexOf("\n") + 1));
    const { approval } = await asks("echo", "watched");
    await waitFor(
      "it to come",
      () => seen().some(({ id, state }) => id === approval.id && state === "pending"),
      20_000,
    );
    await aether.run(["approvals", "revoke", approval.id]);
    await waitFor(
      "it to go",
      () => seen().some(({ id, state }) => id === approval.id && state === "cancelled"),
      20_000,
    );
    watching.child.kill("SIGINT");
    expect((await watching.ended).code).toBe(130);
  });

  it("always is a grant: shown, used and taken back", async () => {
    const { id, approval } = await asks("echo", "always");
    const always = ["approvals", "answer", approval.id, "always", "--secret-fd", "3"];
    expect(await withSecret(always, secret)).toEqual({ code: 0, stderr: "" });
    await waitFor("the end", async () => (await stateOf(id)).state === "succeeded");
    expect((await aether.run([...large, "true"])).code).toBe(0);
    const [grant]: Grant[] = JSON.parse((await aether.run(["grants", "ls", "--json"])).stdout).items;
    const shown = await aether.run(["grants", "show", grant?.id ?? ""]);
    expect(shown.stdout).toMatch(/cpus_milli +at most 2000/);
    expect((await aether.run(["grants", "rm", grant?.id ?? ""])).stdout).toBe(`${grant?.id}\n`);
    expect((await aether.run(["grants", "rm", grant?.id ?? ""])).code).toBe(4);
    const again = await asks("true");
    await aether.run(["kill", again.id]);
    await waitFor("the question to be withdrawn", async () => (await list()).length === 0);
  });
});
