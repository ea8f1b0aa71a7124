// A KV bucket whose values hold a schema. Every write is a compare-and-set; there is no plain put. A conflict is a value of
// the protocol (`RevisionConflict`), an unknown outcome is an error that the caller resolves by reading again.
import { JetStreamApiError } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import type { z } from "zod";
import type { Bus } from "./connection.ts";

export interface Entry<T> {
  value: T;
  /** Sequence of the write in the bucket's stream. */
  revision: number;
}

export interface Bucket<T> {
  /** The newest value, read from the truth; null where there is none. */
  get(key: string): Promise<Entry<T> | null>;
  /** Writes the first value; throws RevisionConflict when there is one. Answers its revision. */
  create(key: string, value: T): Promise<number>;
  /** Replaces the value of exactly that revision; throws RevisionConflict when another has come. */
  update(key: string, value: T, revision: number): Promise<number>;
  /** Removes the value of exactly that revision. */
  remove(key: string, revision: number): Promise<void>;
}

/** Somebody else wrote in between: read again and decide anew. */
export class RevisionConflict extends Error {
  constructor(key: string, options?: ErrorOptions) {
    super(`${key} was changed by somebody else`, options);
    this.name = "RevisionConflict";
  }
}

const wrongLastSequence = 10071;
const messageNotFound = 10037;

/** Whether an error is JetStream's refusal of an expected sequence. */
export function isWrongSequence(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === wrongLastSequence;
}

/** Opens a bucket; no request is made. */
export function openBucket<T>(bus: Bus, name: string, schema: z.ZodType<T>): Bucket<T> {
  const stream = `KV_${name}`;
  const subject = (key: string) => `$KV.${name}.${key}`;

  async function write(key: string, body: string, revision: number, operation?: "DEL"): Promise<number> {
    const head = headers();
    head.set("Nats-Expected-Last-Subject-Sequence", String(revision));
    if (operation) {
      head.set("KV-Operation", operation);
      head.set("Nats-TTL", "24h"); // the marker goes too, once every view has seen it
    }
    try {
      return (await bus.js.publish(subject(key), body, { headers: head })).seq;
    } catch (error) {
      if (isWrongSequence(error)) throw new RevisionConflict(key, { cause: error });
      throw error;
    }
  }

  return {
    async get(key) {
      const message = await bus.jsm.direct
        .getMessage(stream, { last_by_subj: subject(key) })
        .catch((error: unknown) => {
          if (error instanceof JetStreamApiError && error.code === messageNotFound) return null;
          throw error;
        });
      if (!message || message.header?.get("KV-Operation")) return null;
      return { value: schema.parse(message.json()), revision: message.seq };
    },
    async create(key, value) {
      const body = JSON.stringify(value);
      try {
        return await write(key, body, 0);
      } catch (error) {
        const deleted = error instanceof RevisionConflict ? await lastDeletion(bus, stream, subject(key)) : null;
        if (deleted === null) throw error;
        return await write(key, body, deleted);
      }
    },
    update: (key, value, revision) => write(key, JSON.stringify(value), revision),
    async remove(key, revision) {
      await write(key, "", revision, "DEL");
    },
  };
}

/** The revision of a key's deletion marker, null where the key has a value. */
async function lastDeletion(bus: Bus, stream: string, subject: string): Promise<number | null> {
  const message = await bus.jsm.direct.getMessage(stream, { last_by_subj: subject });
  return message?.header?.get("KV-Operation") ? message.seq : null;
}
