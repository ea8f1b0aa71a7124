import { PeopleList, UidRanges } from "@aether/service";
import { describe, expect, it } from "vitest";
import { toAgentPrincipal, toPrincipal } from "./principal.ts";

const peer = (uid: number, gid = uid, groups: number[] = []) => ({ uid, gid, pid: 1, groups });
const everybody = { operators: PeopleList.parse("0"), members: null, domain: null };

describe("toPrincipal", () => {
  it("names the user by number and keeps what records need", () => {
    expect(toPrincipal(peer(1000, 100, [4, 24]), everybody)).toEqual({
      type: "User",
      id: "1000",
      roles: ["member"],
      uid: 1000,
      gid: 100,
      pid: 1,
      groups: [4, 24],
    });
  });

  it("keeps of very many groups as many as a request may carry", () => {
    const groups = Array.from({ length: 1000 }, (_, gid) => gid);
    expect(toPrincipal(peer(1000, 100, groups), everybody).groups).toEqual(groups.slice(0, 256));
  });

  it.each([
    ["root is an operator", peer(0), "%7", ["operator"]],
    ["another one by uid", peer(500), "%7", ["operator"]],
    ["another one by group", peer(501, 501, [20]), "%7", ["operator"]],
    ["without a list whoever could open the socket is a member", peer(1000), null, ["member"]],
    ["a primary group counts", peer(1000, 7), "%7", ["member"]],
    ["a supplementary group counts", peer(1000, 1000, [1, 7]), "%7", ["member"]],
    ["a uid counts", peer(1000), "%7,1000", ["member"]],
    ["others have no role where there is a list", peer(1000, 1000, [1]), "%7", []],
    ["nobody is a member by an empty list", peer(1000), "", []],
    ["the overflow uid has no role", peer(65_534), null, []],
    ["nor has it one through a group", peer(65_534, 7, [7, 20]), "%7", []],
    ["nor by being named", peer(65_534), "65534", []],
  ] as const)("%s", (_what, credentials, members, roles) => {
    const asked = {
      operators: PeopleList.parse("0,500,%20"),
      members: members === null ? null : PeopleList.parse(members),
      domain: null,
    };
    expect(toPrincipal({ ...credentials, groups: [...credentials.groups] }, asked).roles).toEqual(roles);
  });

  it("gives nobody outside of the domain a role, nor the overflow uid inside it", () => {
    const domain = UidRanges.parse("1000-59999,65534");
    const rolesIn = (uid: number) => toPrincipal(peer(uid), { ...everybody, domain }).roles;
    // A container's root, the last below, the first and last inside, the first above, the overflow uid.
    expect([0, 999, 1000, 59_999, 60_000, 65_534].map(rolesIn)).toEqual([[], [], ["member"], ["member"], [], []]);
  });
});

it("toAgentPrincipal names the agent whose socket it is, whatever the number behind it", () => {
  for (const uid of [0, 1000, 65_534]) {
    expect(toAgentPrincipal(peer(uid), { name: "scout", owner: "user:1000" })).toEqual({
      type: "Agent",
      id: "scout",
      roles: ["agent"],
      owner: "user:1000",
      uid,
      gid: uid,
      pid: 1,
      groups: [],
    });
  }
});
