// One unassigned uid per running sandbox, so that no two jobs share files, limits counted per user, or signals, and nothing
// on the host belongs to root. Numbers come from a block of the instance's own, far above those that systemd, containers
// and directories of people give out.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { SandboxUnavailable } from "./driver.ts";

const FIRST_UID = 1_879_100_000;
const LAST_UID = 2_000_000_000;
const BLOCK = 10_000;
/** The end of the block: these are never given to passing sandboxes. */
const RESIDENTS = 1_000;
const PASSING = BLOCK - RESIDENTS;

export interface Uids {
  take(): number;
  give(uid: number): void;
  /** The uid of a place among the residents', from 0; null beyond the last. */
  resident(place: number): number | null;
}

/** The first uid of an instance's block. */
export function defaultUidBase(instance: string): number {
  const blocks = Math.floor((LAST_UID - FIRST_UID) / BLOCK);
  return FIRST_UID + (createHash("sha256").update(instance).digest().readUInt32BE(0) % blocks) * BLOCK;
}

/** Hands out uids in turn, so that a number is not used again soon; `passwd` is for tests. */
export function createUids(base: number, passwd = readFileSync("/etc/passwd", "utf8")): Uids {
  const assigned = new Set(passwd.split("\n").flatMap((line) => line.split(":").slice(2, 4).map(Number)));
  const taken = new Set<number>();
  let next = 0;
  return {
    take: () => {
      for (let tries = 0; tries < PASSING; tries++) {
        const uid = base + next;
        next = (next + 1) % PASSING;
        if (assigned.has(uid) || taken.has(uid)) continue;
        taken.add(uid);
        return uid;
      }
      const cause = `No uid is free between ${base} and ${base + PASSING - 1}.`;
      throw new SandboxUnavailable([{ cause, mend: "Wait until other jobs have ended." }]);
    },
    give: (uid) => {
      taken.delete(uid);
    },
    resident: (place) => (place < RESIDENTS ? base + PASSING + place : null),
  };
}
