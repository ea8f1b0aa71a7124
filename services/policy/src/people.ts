// Who could answer: operators, and the person that an agent works for. Nobody answers alone for his own uid, unless he has set a
// secret; so where there is nobody else, asking would only keep the asker waiting.
import { type Approval, type Principal, principalOf } from "@aether/contracts";
import type { HumanSecrets } from "./human-secret.ts";

/** People by their uid or by a group. */
export interface People {
  readonly uids: readonly number[];
  readonly gids: readonly number[];
}

/** Null where somebody can be asked; else what would mend it. Of a group it is taken that somebody is in it. */
export function whyNobody(
  { uid, owner }: Approval["requester"],
  operators: People,
  secrets: Pick<HumanSecrets, "has">,
): string | null {
  const [, person] = /^user:(\d{1,10})$/.exec(owner ?? "") ?? [];
  const candidates = [...operators.uids, ...(person === undefined ? [] : [Number(person)])];
  if (operators.gids.length > 0 || candidates.some((candidate) => candidate !== uid)) return null;
  if (uid !== null && secrets.has(uid)) return null;
  return `nobody can be asked: ${owner ?? "who asks"} may answer once a secret is set that the asking program does not know, or an operator with another uid may (AETHER_OPERATORS)`;
}

/** Somebody by his name, with the roles that he would have; where none are named, those that he has. */
export function principalNamed(name: string, operators: People, roles?: Principal["roles"]): Principal {
  const principal = principalOf(name);
  const isOperator = principal.type === "User" && operators.uids.includes(Number(principal.id));
  return { ...principal, roles: roles ?? (isOperator ? ["operator"] : principal.roles) };
}
