// Lists of people and numbers in configuration: who is an operator or a member (`0,1000,%wheel`), and which uids are people at all
// (`0-59999`). Names of groups become numbers once, when the configuration is read; what cannot be understood is an error there.
import { readFileSync } from "node:fs";
import { z } from "zod";

const maxNumber = 0xffff_fffe;

/** People by their uid or by a group, primary or supplementary. */
export interface People {
  readonly uids: readonly number[];
  readonly gids: readonly number[];
}

/** Whose numbers the kernel has told. */
export interface Numbers {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** Uids from the first to the last of each. */
export type UidDomain = readonly (readonly [first: number, last: number])[];

/** What the kernel reports for a uid that has no number in this user namespace: it may be anybody. */
export const overflowUid = 65_534;

/** `1000,%wheel,%100`: uids, and groups by name or number. */
export const PeopleList = z.string().transform((text, context): People => {
  const people = { uids: [] as number[], gids: [] as number[] };
  for (const part of split(text)) {
    const number = part.startsWith("%") ? findGid(part.slice(1)) : toNumber(part);
    if (number === null) context.addIssue(`there is no such user or group: ${part}; uids and %groups are wanted`);
    else (part.startsWith("%") ? people.gids : people.uids).push(number);
  }
  return people;
});

/** `0-59999,65533`: numbers and ranges. */
export const UidRanges = z.string().transform(
  (text, context): UidDomain =>
    split(text).flatMap((part) => {
      const [first, last = first] = part.split("-", 2).map(toNumber);
      if (first != null && last != null && first <= last && part.split("-").length <= 2)
        return [[first, last] as const];
      context.addIssue(`not a uid or a range such as 0-59999: ${part}`);
      return [];
    }),
);

/** Who is who, as every process that asks for it is told. */
export const RolesConfig = z.object({
  AETHER_OPERATORS: PeopleList.optional().describe(
    "Operators: uids and `%group`, separated by commas; root and who runs Aether where absent",
  ),
  AETHER_MEMBERS: PeopleList.optional().describe(
    "Members, in the same way; the socket's group, else everybody who can open it, where absent",
  ),
  AETHER_UID_DOMAIN: UidRanges.optional().describe(
    "Uids that are people, such as `0-59999`; nobody else has a right. All but the overflow uid where absent",
  ),
});

export function isAmong({ uids, gids }: People, { uid, gid, groups }: Numbers): boolean {
  return uids.includes(uid) || gids.includes(gid) || groups.some((one) => gids.includes(one));
}

/** Whether a uid is somebody's: inside the domain, all numbers where none is declared, and never the overflow uid. */
export function isSomebody(domain: UidDomain | null, uid: number): boolean {
  if (uid === overflowUid) return false;
  return domain === null || domain.some(([first, last]) => first <= uid && uid <= last);
}

/** The list as text of numbers alone, for a process that may not look names up. */
export function formatPeople({ uids, gids }: People): string {
  return [...uids, ...gids.map((gid) => `%${gid}`)].join(",");
}

function split(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function toNumber(text: string): number | null {
  return /^(0|[1-9]\d{0,9})$/.test(text) && Number(text) <= maxNumber ? Number(text) : null;
}

/** The number of a group by its name or number; null when there is no such group. */
export function findGid(name: string): number | null {
  const number = toNumber(name);
  if (number !== null) return number;
  const entry = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((line) => name !== "" && line.startsWith(`${name}:`));
  return entry === undefined ? null : toNumber(entry.split(":")[2] ?? "");
}
