// Policies from the command line: what answers now, what would be answered, and a folder that is tried before it is put in place.
import { execFile } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { requireBackend, tempDir, waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Aether, startAether } from "./_aether.ts";

const missing = requireBackend("nats");
const root = join(import.meta.dirname, "..");
const closed =
  '@id("closed")\n@reason("closed for today")\nforbid (principal, action == Aether::Action::"submit_job", resource);\n';

interface Ended {
  code: number;
  out: string;
  err: string;
}

function cli(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(root, "apps/cli/src/main.ts"), ...args], (error, out, err) => {
      resolve({ code: error ? Number(error.code) : 0, out: out.trim(), err: err.trim() });
    });
  });
}

describe("policy test", () => {
  /** A folder with these files. */
  function folderOf(files: Record<string, string>) {
    const folder = tempDir();
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder.path, name), text);
    return folder;
  }

  it("says that a folder is valid and answers as its cases say", async () => {
    using folder = folderOf({
      "a.cedar": closed,
      "a.test": "deny user:1 submit_job by closed  # today\nallow user:1 read_job\n",
    });
    const { code, out } = await cli("policy", "test", "--policies", folder.path);
    expect(out).toMatch(/changed by your own: .*jobs\.test:\d+: should be allow, is deny by closed: closed for today/);
    expect(out).toMatch(
      /shipped and 1 own policies are valid; \d+ of \d+ cases are as they say, \d+ shipped ones are changed/,
    );
    expect(code).toBe(0);
    const alone = await cli("policy", "test", "--policies", folder.path, join(folder.path, "a.test"));
    expect(alone.out).toMatch(/ and 1 own policies are valid; 2 of 2 cases are as they say$/);
  });

  it("exits 1 with the case that is otherwise, and with every fault of what is not valid", async () => {
    using folder = folderOf({ "a.cedar": closed, "a.test": "\nallow user:1 submit_job\n" });
    const other = await cli("policy", "test", "--policies", folder.path, join(folder.path, "a.test"));
    expect(other.out.split("\n").slice(0, 2)).toEqual([
      `${folder.path}/a.test:2: should be allow, is deny by closed: closed for today`,
      "    allow user:1 submit_job",
    ]);
    expect(other.code).toBe(1);
    writeFileSync(join(folder.path, "b.cedar"), `${closed}permit (principal, action, resource) when { nonsense };`);
    const invalid = await cli("policy", "test", "--policies", folder.path);
    expect(invalid.out).toMatch(/b\.cedar:4: .*nonsense/);
    expect(invalid.out).toMatch(/not valid: \d faults?; no case was tried$/);
    expect(invalid.code).toBe(1);
  });

  it("is read by programs too, and shows what a terminal would be misled by", async () => {
    using folder = folderOf({ "a.test": "allow user:1 submit_\u001b[31mjob\n" });
    const file = join(folder.path, "a.test");
    const { code, out } = await cli("policy", "test", "--json", "--policies", folder.path, file);
    expect(JSON.parse(out).files).toMatchObject([
      { path: file, cases: [{ line: 1, fault: expect.stringContaining("no action") }] },
    ]);
    expect(code).toBe(1);
    expect((await cli("policy", "test", "--policies", folder.path, file)).out).not.toContain("\u001b");
    expect((await cli("policy", "test", "/nowhere/at.test")).code).toBe(2);
  });
});

describe.skipIf(missing)(`policies that answer${missing ? `: ${missing}` : ""}`, () => {
  let aether: Aether;
  let policies: string;
  let own: Disposable & { path: string };
  const aetherCli = (...args: string[]) => cli("--socket", aether.socket, ...args);

  beforeAll(async () => {
    own = tempDir();
    policies = join(own.path, "policies");
    mkdirSync(policies);
    aether = await startAether({
      worker: false,
      environment: { policy: { AETHER_POLICY_OWN_POLICIES_DIR: policies } },
    });
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
    own[Symbol.dispose]();
  });

  it("are listed with whose they are, and with what is wrong with newer ones", async () => {
    writeFileSync(join(policies, "own.cedar"), closed);
    const listed = await waitFor("the new policy", async () => {
      const { out } = await aetherCli("policy", "ls");
      return out.includes("closed for today") ? out : null;
    });
    expect(listed).toMatch(/^closed +forbid +own +own\.cedar:1 +closed for today$/m);
    expect(listed).toMatch(/^agents-ask-for-more +permit, ask +shipped +agents\.cedar:\d+ /m);
    writeFileSync(join(policies, "own.cedar"), "nonsense");
    await waitFor("the fault", async () =>
      /newer policies do not answer:\n.*own\.cedar:1/.test((await aetherCli("policy", "ls")).err),
    );
    const { items, error, policy_version } = JSON.parse((await aetherCli("policy", "ls", "--json")).out);
    expect(items.map(({ id }: { id: string }) => id)).toContain("closed");
    expect([error, policy_version]).toEqual([
      expect.stringContaining("own.cedar:1"),
      expect.stringMatching(/^sha256:/),
    ]);
    rmSync(join(policies, "own.cedar"));
    await waitFor("the shipped ones", async () => !(await aetherCli("policy", "ls")).out.includes("closed"));
  });

  it("are asked about oneself and, by operators, about others", async () => {
    const check = async (...args: string[]) => {
      const { code, out } = await aetherCli("policy", "check", ...args);
      return `${code} ${out.split("\n")[0]}`;
    };
    const start = ["start_job", "-c", "network=none", "-c", "timeout_ms=1h", "-c", "memory_bytes=1g"];
    expect(await check("submit_job", "-c", "timeout_ms=8d")).toBe("1 deny: no job may run longer than 7 days");
    expect(await check("read_audit")).toMatch(/^0 allow/);
    expect(await check("--as", "user:1000", "read_audit")).toMatch(/^1 deny: the audit log is for operators/);
    expect(await check("--as", "user:0", "read_audit")).toMatch(/^0 allow/);
    expect(await check("--as", "user:1000", "--role", "operator", "read_audit")).toMatch(/^0 allow/);
    expect(await check("--as", "agent:aurora", ...start, "-c", "cpus_milli=1000")).toMatch(/^0 allow/);
    expect(await check("--as", "agent:aurora", ...start, "-c", "cpus_milli=4000")).toMatch(/^1 ask: /);
  });
});
