import { describe, expect, it } from "vitest";
import { LayoutError, type LayoutInput, resolveLayout } from "./layout.ts";

const user = { HOME: "/home/ada", XDG_RUNTIME_DIR: "/run/user/1000" };
const cases: [string, LayoutInput, { runDir: string; dataDir: string; logDir: string }][] = [
  [
    "root has the system's folders",
    { uid: 0, env: { HOME: "/root", XDG_RUNTIME_DIR: "/run/user/0" } },
    { runDir: "/run/aether", dataDir: "/var/lib/aether", logDir: "/var/log/aether" },
  ],
  [
    "a user has the XDG folders' defaults",
    { uid: 1000, env: user },
    {
      runDir: "/run/user/1000/aether",
      dataDir: "/home/ada/.local/share/aether",
      logDir: "/home/ada/.local/state/aether/log",
    },
  ],
  [
    "a user's XDG folders are taken",
    { uid: 1000, env: { ...user, XDG_DATA_HOME: "/d/", XDG_STATE_HOME: "/s" } },
    { runDir: "/run/user/1000/aether", dataDir: "/d/aether", logDir: "/s/aether/log" },
  ],
  [
    "without a session the state folder holds what runs",
    { uid: 1000, env: { HOME: "/home/ada" } },
    {
      runDir: "/home/ada/.local/state/aether/run",
      dataDir: "/home/ada/.local/share/aether",
      logDir: "/home/ada/.local/state/aether/log",
    },
  ],
  [
    "AETHER_HOME holds everything",
    { uid: 0, env: { AETHER_HOME: "/srv/a/" } },
    { runDir: "/srv/a/run", dataDir: "/srv/a/data", logDir: "/srv/a/log" },
  ],
  [
    "--home goes before AETHER_HOME",
    { uid: 1000, env: { ...user, AETHER_HOME: "/srv/a" }, home: "/srv/b" },
    { runDir: "/srv/b/run", dataDir: "/srv/b/data", logDir: "/srv/b/log" },
  ],
];

describe("layout", () => {
  it.each(cases)("%s", (_name, input, expected) => {
    const layout = resolveLayout(input);
    expect(layout).toMatchObject(expected);
    expect(layout.socket).toBe(`${expected.runDir}/aetherd.sock`);
    expect(layout.keysDir).toBe(`${expected.dataDir}/keys`);
  });

  it("refuses a socket path that is longer than the kernel's limit, in bytes", () => {
    const longest = `/${"x".repeat(107 - "//run/aetherd.sock".length)}`;
    expect(resolveLayout({ uid: 0, env: {}, home: longest }).socket).toHaveLength(107);
    expect(() => resolveLayout({ uid: 0, env: {}, home: `${longest}x` })).toThrow(/108 bytes/);
    expect(() => resolveLayout({ uid: 0, env: {}, home: `/${"é".repeat(50)}` })).toThrow(LayoutError);
  });

  it.each([
    ["a relative home", { uid: 0, env: {}, home: "here" }],
    ["a relative XDG folder", { uid: 1, env: { ...user, XDG_DATA_HOME: "d" } }],
    ["a user without HOME", { uid: 1, env: {} }],
  ])("refuses %s", (_name, input) => {
    expect(() => resolveLayout(input)).toThrow(LayoutError);
  });
});
