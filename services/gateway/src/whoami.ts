// `GET /v0/whoami`: the caller as everything behind the gateway will know him, and what he should know of that.
import { hasOwnersUid, type Principal, principalName, type WhoAmI } from "@aether/contracts";
import { isSomebody, overflowUid, type UidDomain } from "@aether/service";

export function toWhoAmI(principal: Principal, domain: UidDomain | null): WhoAmI {
  const { type, id, roles, owner = null, uid = overflowUid, gid = overflowUid, pid = 0, groups = [] } = principal;
  const isAgent = type === "Agent";
  return {
    ...{ type: isAgent ? "Agent" : "User", id, name: principalName(principal), roles, owner, uid, gid, pid, groups },
    known_by: isAgent ? "socket" : "credentials",
    same_uid: hasOwnersUid(principal),
    note: noteOf(principal, uid, domain),
  };
}

function noteOf(principal: Principal, uid: number, domain: UidDomain | null): string | null {
  const { type, roles, owner } = principal;
  if (type === "Agent") {
    return hasOwnersUid(principal)
      ? `this agent has the uid of ${owner}, for whom it works: its sandbox alone keeps the two apart`
      : null;
  }
  if (uid === overflowUid) return `uid ${uid} stands for every user without a number here, so it has no rights`;
  if (!isSomebody(domain, uid)) return `uid ${uid} lies outside of the declared uids, so it has no rights`;
  if (roles.length === 0) return `user ${uid} is neither an operator nor a member, so it has no rights`;
  return `every program of uid ${uid} is you to Aether; \`aether agent run\` gives one a name and rights of its own`;
}
