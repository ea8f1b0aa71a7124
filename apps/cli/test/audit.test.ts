// The audit log from the command line: copies that go on where they were cut off and are verified without the services, and
// records found by the thing itself.
import { appendFileSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createClient, createUnixTransport } from "@aether/client";
import type { AuditRecord } from "@aether/contracts";
import { waitFor } from "@aether/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installation, lines, missingBackend, startInstallation } from "./_cli.ts";

const missing = missingBackend();

describe.skipIf(missing)(`aether audit${missing ? `: ${missing}` : ""}`, () => {
  let aether: Installation;
  beforeAll(async () => {
    aether = await startInstallation();
  });
  afterAll(async () => {
    await aether[Symbol.asyncDispose]();
  });

  const folder = () => join(aether.home, "log/audit");
  const exported = () => join(aether.home, "audit.jsonl");
  const records = () => lines<AuditRecord>(readFileSync(exported(), "utf8"));
  const verify = (...files: string[]) => aether.run(["audit", "verify", "--checkpoints", folder(), ...files, "--json"]);

  it("export writes every record once, goes on behind a torn end, and is verified as a copy", async () => {
    for (let n = 0; n < 5; n++) await aether.run(["policy", "check", "submit_job"]);
    expect(await aether.run(["audit", "export", "-o", exported()])).toMatchObject({ code: 0 });
    expect(await aether.run(["audit", "export", "-o", exported()])).toMatchObject({ code: 1 });
    const before = records().length;
    appendFileSync(exported(), '{"action":"half of a rec');
    await aether.run(["policy", "check", "submit_job"]);
    expect(await aether.run(["audit", "export", "-o", exported(), "--resume"])).toMatchObject({ code: 0 });
    const seqs = records().map(({ seq }) => seq);
    expect(seqs.length).toBeGreaterThan(before);
    expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    expect(await aether.run(["audit", "archive"])).toMatchObject({ code: 0 });
    await aether.run(["audit", "export", "-o", exported(), "--resume"]);
    const { code, stdout } = await verify(exported());
    expect({ code, ...JSON.parse(stdout) }).toMatchObject({ code: 0, state: "intact", first_seq: 1, faults: [] });
  });

  it("a copy that was changed is told with the place, one that was cut is incomplete", async () => {
    const text = readFileSync(exported(), "utf8");
    const changed = join(aether.home, "changed.jsonl");
    writeFileSync(changed, text.replace('"action":"check_policy"', '"action":"check_polity"'));
    const { seq } = records().find(({ action }) => action === "check_policy") as AuditRecord;
    const told = await verify(changed);
    expect(told.code).toBe(1);
    expect(JSON.parse(told.stdout)).toMatchObject({
      state: "tampered",
      faults: [
        { seq, fault: "its content does not have its hash" },
        { fault: expect.stringMatching(/^the copy ends at/) },
      ],
    });
    writeFileSync(changed, text);
    truncateSync(changed, text.indexOf("\n") + 1);
    expect(JSON.parse((await verify(changed)).stdout)).toMatchObject({ state: "incomplete", last_seq: 1 });
    expect(await aether.run(["audit", "verify", changed])).toMatchObject({ code: 2 });
  });

  it("filters take only what was asked for, to standard output", async () => {
    const { stdout } = await aether.run([
      "audit",
      "export",
      "--action",
      "check_policy",
      "--since",
      "1h",
      "--actor",
      "user:0",
    ]);
    const found = lines<AuditRecord>(stdout);
    expect(found.length).toBeGreaterThanOrEqual(6);
    expect(new Set(found.map(({ action }) => action))).toEqual(new Set(["check_policy"]));
    const after = String(found.at(-2)?.seq);
    const { stdout: rest } = await aether.run(["audit", "export", "--action", "check_policy", "--after", after]);
    expect(lines<AuditRecord>(rest).map(({ seq }) => seq)).toEqual([found.at(-1)?.seq]);
  });

  it("export outlives the services that it reads from, each record once", async () => {
    using transport = createUnixTransport(join(aether.home, "run/aetherd.sock"));
    const client = createClient(transport);
    const ask = async () => {
      for (let n = 0; n < 200; n++) await client.policy.check({ action: "submit_job" });
    };
    await Promise.all(Array.from({ length: 16 }, ask));
    const file = join(aether.home, "long.jsonl");
    const exporting = aether.start(["audit", "export", "-o", file]);
    await waitFor("the export to begin", () => (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0);
    process.kill(aether.pidOf("core"), "SIGKILL");
    expect((await exporting.ended).code).toBe(0);
    const seqs = lines<AuditRecord>(readFileSync(file, "utf8")).map(({ seq }) => seq);
    expect(seqs.length).toBeGreaterThan(3200);
    expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    await waitFor(
      "the log to be verified again",
      async () => (await aether.run(["audit", "verify"])).code === 0,
      20_000,
    );
  }, 60_000);

  it("the log folder holds a copy that verifies by itself", async () => {
    const files = () =>
      readdirSync(folder())
        .filter((name) => /^audit-\d+\.log$/.test(name))
        .map((name) => join(folder(), name));
    const found = await waitFor("the copy to be verified", async () => {
      const { code, stdout } = await verify(...files());
      return code === 0 && JSON.parse(stdout);
    });
    expect(found).toMatchObject({ state: "intact", first_seq: 1, faults: [] });
  });

  it("what was done with a file is found by its bytes", async () => {
    const bytes = `only here ${Math.random()}`;
    const file = join(aether.home, "found.txt");
    writeFileSync(file, bytes);
    expect(await aether.run(["run", "--input", `${file}:/inputs/a`, "--", "true"])).toMatchObject({ code: 0 });
    const { code, stdout } = await aether.run(["audit", "find", "--json"], { input: bytes });
    const { items }: { items: AuditRecord[] } = JSON.parse(stdout);
    expect(code).toBe(0);
    expect(items.map(({ action }) => action)).toContain("read_artifact");
    expect(JSON.stringify(items)).not.toContain(bytes);
    expect(await aether.run(["audit", "find"], { input: `${bytes}!` })).toMatchObject({ code: 1 });
  });
});
