// The other end of a connection → the principal of a request. On the socket of all, who could open it is a user by his number, with
// roles by his numbers; on an agent's socket he is that agent, whatever his number. Nothing that a request says counts.
import type { Principal } from "@aether/contracts";
import type { PeerCredentials } from "@aether/http";
import { isAmong, isSomebody, type People, type RolesConfig, type UidDomain } from "@aether/service";
import type { z } from "zod";

/** Of very many groups some are left out: then he reaches fewer files through us than by himself. */
const groupsMax = 256;

export interface Roles {
  operators: People;
  /** Null: everybody who could open the socket. */
  members: People | null;
  /** Null: all numbers. Outside it nobody has a right, nor has the overflow uid: it may be anybody. */
  domain: UidDomain | null;
}

/** As the configuration says, or as it is where that says nothing. */
export function toRoles(config: z.infer<typeof RolesConfig>, memberGid?: number): Roles {
  return {
    operators: config.AETHER_OPERATORS ?? { uids: [0, process.getuid?.() ?? 0], gids: [] },
    members: config.AETHER_MEMBERS ?? (memberGid === undefined ? null : { uids: [], gids: [memberGid] }),
    domain: config.AETHER_UID_DOMAIN ?? null,
  };
}

/** Who the other end of a connection to the socket of all is. */
export function toPrincipal(credentials: PeerCredentials, roles: Roles): Principal {
  return { type: "User", id: String(credentials.uid), roles: rolesOf(credentials, roles), ...numbersOf(credentials) };
}

/** Who the other end of a connection to an agent's socket is. */
export function toAgentPrincipal(credentials: PeerCredentials, agent: { name: string; owner: string }): Principal {
  return { type: "Agent", id: agent.name, roles: ["agent"], owner: agent.owner, ...numbersOf(credentials) };
}

function numbersOf({ uid, gid, pid, groups }: PeerCredentials) {
  return { uid, gid, pid, groups: groups.slice(0, groupsMax) };
}

function rolesOf(credentials: PeerCredentials, { operators, members, domain }: Roles): Principal["roles"] {
  if (!isSomebody(domain, credentials.uid)) return [];
  if (isAmong(operators, credentials)) return ["operator"];
  return members === null || isAmong(members, credentials) ? ["member"] : [];
}
