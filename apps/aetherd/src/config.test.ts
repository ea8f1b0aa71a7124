import { describe, expect, it } from "vitest";
import { AetherdConfig, toHostName } from "./config.ts";
import { isAtLeast } from "./nats-server.ts";

describe("configuration", () => {
  it.each([
    ["host-a", "host-a"],
    ["Host.Example.org", "host"],
    ["my_host", "my-host"],
    ["-x-", "x"],
    ["", "local"],
    ["ø", "local"],
  ])("makes of the host name %j the token %j", (name, token) => {
    expect(toHostName(name)).toBe(token);
  });

  it("reads the stores' size and refuses what is none", () => {
    expect(AetherdConfig.parse({ AETHER_STORE_SIZE: "2GiB" }).AETHER_STORE_SIZE).toBe(2 * 1024 ** 3);
    expect(AetherdConfig.safeParse({ AETHER_STORE_SIZE: "much" }).success).toBe(false);
  });

  it.each([
    ["2.15.1", true],
    ["2.15.2", true],
    ["3.0.0", true],
    ["2.16.0-RC.1", true],
    ["2.15.0", false],
    ["2.9.25", false],
    ["1.99.99", false],
  ])("knows whether nats-server %s is new enough: %s", (version, isEnough) => {
    expect(isAtLeast(version)).toBe(isEnough);
  });
});
