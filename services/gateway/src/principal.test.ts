import { describe, expect, it } from "vitest";
import { toPrincipal } from "./principal.ts";

const peer = (uid: number, gid = uid, groups: number[] = []) => ({ uid, gid, pid: 1, groups });
const rolesOf = (credentials: ReturnType<typeof peer>, memberGid?: number) =>
  toPrincipal(credentials, { operators: [0, 500], ...(memberGid !== undefined && { memberGid }) }).roles;

describe("toPrincipal", () => {
  it("names the user by number and keeps what records need", () => {
    expect(toPrincipal(peer(1000, 100, [4, 24]), { operators: [0] })).toEqual({
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
    expect(toPrincipal(peer(1000, 100, groups), { operators: [0] }).groups).toEqual(groups.slice(0, 256));
  });

  it.each([
    ["root is an operator", peer(0), 7, ["operator"]],
    ["the daemon's own uid is an operator", peer(500), 7, ["operator"]],
    ["without a member group whoever could open the socket is a member", peer(1000), undefined, ["member"]],
    ["a primary group counts", peer(1000, 7), 7, ["member"]],
    ["a supplementary group counts", peer(1000, 1000, [1, 7]), 7, ["member"]],
    ["others have no role where there is a member group", peer(1000, 1000, [1]), 7, []],
    ["the overflow uid has no role", peer(65_534), undefined, []],
    ["nor has it one through a group", peer(65_534, 7, [7]), 7, []],
  ] as const)("%s", (_what, credentials, memberGid, roles) => {
    expect(rolesOf({ ...credentials, groups: [...credentials.groups] }, memberGid)).toEqual(roles);
  });
});
