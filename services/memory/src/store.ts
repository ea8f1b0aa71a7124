// The truth about memory: the stream MEMORY, `aether.memory.v0.<owner>.<entry>`. An entry is appended as the successor of
// its owner's last message, so that what was looked up in the owner's view before (a duplicate, a lineage, whose place it
// takes) still holds when it is stored. Forgetting appends a tombstone and then overwrites the entry's message.
import { createHash } from "node:crypto";
import { appendMessage, type Bus, eraseMessage, lastMessage, RevisionConflict } from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import { parseRecord, type StoredEntry, type StoredRecord, type Tombstone } from "./record.ts";

export const memoryStream = "MEMORY";

export interface Found<T extends StoredRecord = StoredRecord> {
  record: T;
  sequence: number;
}

export interface Store {
  /** The newest message of an entry, whoever owns it; null where there never was one. */
  find(id: string): Promise<Found | null>;
  /** Sequence of the owner's last message, 0 where there is none. */
  lastOf(owner: string): Promise<number>;
  /** Appends behind the owner's message of that sequence; null when there is a newer one. */
  append(entry: StoredEntry, lastSequence: number): Promise<number | null>;
  /** Appends behind the entry's own message; throws RevisionConflict when it is not the last. */
  bury(tombstone: Tombstone, sequence: number): Promise<number>;
  /** Overwrites the message of a forgotten entry. */
  erase(sequence: number): Promise<void>;
}

const storeFullCodes: readonly number[] = [10077, 10047, 10023];

/** The token of an owner in subjects and file names. */
export function ownerToken(owner: string): string {
  return createHash("sha256").update(owner).digest("hex").slice(0, 32);
}

export function subjectOf(owner: string, id: string): string {
  return `aether.memory.v0.${ownerToken(owner)}.${id}`;
}

export function openStore(bus: Bus): Store {
  const find = async (subject: string): Promise<Found | null> => {
    const message = await lastMessage(bus, memoryStream, subject);
    return message && { record: parseRecord(message.data), sequence: message.sequence };
  };
  return {
    find: (id) => find(`aether.memory.v0.*.${id}`),
    async lastOf(owner) {
      return (await lastMessage(bus, memoryStream, subjectOf(owner, "*")))?.sequence ?? 0;
    },
    async append(entry, lastSequence) {
      const subject = subjectOf(entry.owner, entry.id);
      const data = Buffer.from(JSON.stringify(entry));
      try {
        return await appendMessage(bus, subject, data, lastSequence, { among: subjectOf(entry.owner, "*") });
      } catch (error) {
        if (error instanceof RevisionConflict) return null;
        const stored = await find(subject).catch(() => null); // the answer may be all that was lost
        if (stored) return stored.sequence;
        throw toProblem(error);
      }
    },
    async bury(tombstone, sequence) {
      const data = Buffer.from(JSON.stringify(tombstone));
      return await appendMessage(bus, subjectOf(tombstone.owner, tombstone.id), data, sequence);
    },
    async erase(sequence) {
      await eraseMessage(bus, memoryStream, sequence);
    },
  };
}

function toProblem(error: unknown): unknown {
  const code = (error as { code?: unknown }).code;
  if (typeof code === "number" && storeFullCodes.includes(code))
    return new ProblemError("storage-full", {}, { cause: error });
  return new ProblemError("outcome-unknown", { detail: "the store did not answer in time" }, { cause: error });
}
