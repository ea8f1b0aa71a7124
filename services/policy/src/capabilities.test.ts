import { type Capability, createId } from "@aether/contracts";
import { describe, expect, it } from "vitest";
import { beyond, covers } from "./capabilities.ts";

const [job, other] = [createId("job"), createId("job")];
const read = (more: Partial<Capability> = {}): Capability => ({ actions: ["read_job"], ...more });

describe("capabilities cover", () => {
  it.each([
    ["an act that they name", [read()], true],
    ["no other act", [{ actions: ["kill_job" as const] }], false],
    ["the thing that they name", [read({ id: job })], true],
    ["no other thing", [read({ id: other })], false],
    ["what the named one owns", [read({ owner: "user:1000" })], true],
    ["nothing of another's", [read({ owner: "user:1001" })], false],
    ["what one of them names", [read({ id: other }), read({ owner: "user:1000" })], true],
    [
      "nothing where the halves stand in two",
      [read({ id: other, owner: "user:1000" }), read({ id: job, owner: "user:1" })],
      false,
    ],
  ])("%s", (_, capabilities, expected) => {
    expect(covers(capabilities, { action: "read_job", id: job, owner: "user:1000" })).toBe(expected);
  });

  it("no collection where they name a single thing", () => {
    expect(covers([read({ id: job })], { action: "read_job", id: "*", owner: "user:1000" })).toBe(false);
  });
});

describe("capabilities made with others", () => {
  it.each([
    ["the same", [read()], [read()], null],
    ["fewer actions", [read()], [{ actions: ["read_job", "kill_job"] }], null],
    ["another action", [{ actions: ["read_job", "kill_job"] }], [read()], "kill_job"],
    ["one thing of all", [read({ id: job })], [read()], null],
    ["all instead of one thing", [read()], [read({ id: job })], "read_job"],
    ["another thing", [read({ id: other })], [read({ id: job })], "read_job"],
    ["one owner's of all", [read({ owner: "user:1" })], [read()], null],
    ["everybody's instead of one owner's", [read()], [read({ owner: "user:1" })], "read_job"],
    ["a thing without its owner", [read({ id: job })], [read({ id: job, owner: "user:1" })], "read_job"],
    ["a second one beside what is within", [read(), { actions: ["read_audit"] }], [read()], "read_audit"],
  ] as [string, Capability[], Capability[], string | null][])("%s", (_, inner, outer, expected) => {
    expect(beyond(inner, outer)).toBe(expected);
  });
});
