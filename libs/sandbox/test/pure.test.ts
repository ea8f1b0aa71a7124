// Parts that decide without a sandbox.
import { describe, expect, it } from "vitest";
import { parseFeatures } from "../src/arguments.ts";
import { findBase2 } from "../src/cgroup2.ts";
import { findMounts, hasControllers2 } from "../src/cgroups.ts";
import { explain } from "../src/explain.ts";
import { createUids, defaultUidBase } from "../src/uid.ts";

describe("cgroup mounts", () => {
  const v1 = (name: string) => `30 20 0:26 / /sys/fs/cgroup/${name} rw,relatime shared:9 - cgroup cgroup rw,${name}`;
  const v2 = (path: string) => `31 20 0:27 / ${path} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`;

  it("are those of v1 on a hybrid host, with cgroup2 for killing", () => {
    const lines = [v1("memory"), v1("cpu,cpuacct"), v1("pids"), v2("/sys/fs/cgroup/unified")];
    const mounts = findMounts(lines.join("\n"));
    expect(hasControllers2(mounts)).toBe(false);
    expect(mounts.v1.get("cpuacct")).toBe("/sys/fs/cgroup/cpu,cpuacct");
    expect(mounts.v2).toBe("/sys/fs/cgroup/unified");
  });

  it("are those of v2 where one hierarchy has them all", () => {
    const mounts = findMounts(v2("/sys/fs/cgroup"));
    expect(hasControllers2(mounts)).toBe(true);
    expect(mounts.v1.size).toBe(0);
  });

  it("lie under the root for root", () => {
    expect(findBase2("/sys/fs/cgroup", "0::/system.slice/x.service\n")).toBe("/sys/fs/cgroup");
  });
});

describe("uids", () => {
  it("come from a block of the instance's own and are never one that is assigned", () => {
    const base = defaultUidBase("one");
    expect(base).toBeGreaterThanOrEqual(1_879_100_000);
    expect(base).toBeLessThan(2_000_000_000);
    expect(defaultUidBase("two")).not.toBe(base);
    const uids = createUids(base, `odd:x:${base + 1}:${base + 2}::/:/bin/sh\n`);
    expect([uids.take(), uids.take()]).toEqual([base, base + 3]);
    uids.give(base);
    expect(uids.take()).toBe(base + 4);
    expect([uids.resident(0), uids.resident(999), uids.resident(1000)]).toEqual([base + 9_000, base + 9_999, null]);
    for (let given = 2; given < 9_000 - 2; given++) expect(uids.take()).toBeLessThan(base + 9_000);
    expect(() => uids.take()).toThrow(/No uid is free/);
  });
});

describe("bwrap's messages", () => {
  it.each([
    ["bwrap: No permissions to creating new namespace, likely because…", /User namespaces are not allowed/],
    ["bwrap: setting up uid map: Permission denied", /User namespaces are not allowed/],
    ["bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", /User namespaces are not allowed/],
    ["bwrap: Can't mount proc on /newroot/proc: Operation not permitted", /may not mount/],
    ["bwrap: Exceeded maximum number of arguments 9000", /too many entries/],
    ["bwrap: Unknown option --disable-userns", /too old/],
  ])("`%s` have a cause and a mend", (message, cause) => {
    expect(explain(message)?.cause).toMatch(cause);
    expect(explain(message)?.mend).toMatch(/\w/);
  });

  it("that are unknown are no refusal", () => {
    expect(explain("bwrap: Can't fork for pid 1: Resource temporarily unavailable")).toBeNull();
  });

  it("tell what an older release lacks", () => {
    expect(parseFeatures("    --disable-userns   Disable\n    --size BYTES   Set")).toEqual({
      disableUserns: true,
      tmpfsSize: true,
    });
    expect(parseFeatures("    --perms OCTAL")).toEqual({ disableUserns: false, tmpfsSize: false });
  });
});
