// Peer credentials → the principal of a request. Whoever could open the socket is a user by his number; roles are given by
// the numbers too, never by what the request says.
import type { Principal } from "@aether/contracts";
import type { PeerCredentials } from "@aether/http";

/** What the kernel reports for a uid that has no number in this user namespace: it may be anybody, so it gets no rights. */
const overflowUid = 65_534;

/** Of very many groups some are left out: then he reaches fewer files through us than by himself. */
const groupsMax = 256;

export interface Roles {
  operators: readonly number[];
  /** Only its members get the role `member`; without one everybody who could open the socket does. */
  memberGid?: number;
}

/** Who the other end of the connection is. */
export function toPrincipal(credentials: PeerCredentials, roles: Roles): Principal {
  const { uid, gid, pid, groups } = credentials;
  const own = { uid, gid, pid, groups: groups.slice(0, groupsMax) };
  return { type: "User", id: String(uid), roles: rolesOf(credentials, roles), ...own };
}

function rolesOf({ uid, gid, groups }: PeerCredentials, { operators, memberGid }: Roles): Principal["roles"] {
  if (uid === overflowUid) return [];
  if (operators.includes(uid)) return ["operator"];
  if (memberGid === undefined || gid === memberGid || groups.includes(memberGid)) return ["member"];
  return [];
}
