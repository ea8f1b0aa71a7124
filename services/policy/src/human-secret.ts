// Secrets by which a person answers what a program under his own uid asked: the program cannot know them. Kept in KV `grants` as salted
// scrypt hashes, one at a time is tried, and after some wrong ones none for a while. The first to be set wins: another one needs it.
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { limits, ProblemError } from "@aether/contracts";
import { z } from "zod";
import type { Remembered } from "./remembered.ts";
import { openShelf } from "./shelf.ts";

const StoredSecret = z.object({ salt: z.string(), hash: z.string(), cost: z.int(), set_at: z.iso.datetime() });

/** Some 32 MiB and a tenth of a second each. */
const cost = 32_768;
const hashBytes = 32;
const waitingMax = 16;

export interface HumanSecrets {
  has(uid: number): boolean;
  /** Throws where it is not the secret of this person, `too-many-requests` where it was wrong too often; `onWrong` is told of each. */
  require(uid: number, secret: string | undefined, onWrong: () => Promise<void>): Promise<void>;
  /** Sets or, with null, clears it; `isFirst`: only while there is none. */
  set(uid: number, secret: string | null, isFirst: boolean): Promise<void>;
}

export function openHumanSecrets(remembered: Remembered): HumanSecrets {
  const shelf = openShelf(remembered, "secret.", StoredSecret);
  const keyOf = (uid: number) => `secret.${uid}`;
  const tries = new Map<number, { wrong: number; lastAt: number }>();
  let waiting = 0;
  let turn: Promise<unknown> = Promise.resolve();

  /** One after the other: each takes memory, and the next one must see whether this one was right. */
  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    if (waiting >= waitingMax) throw tooMany("too many secrets are being tried", 1000);
    waiting++;
    const done = turn.then(act).finally(() => waiting--);
    turn = done.catch(() => {});
    return done;
  }

  async function isRight(uid: number, secret: string): Promise<boolean> {
    const stored = shelf.get(keyOf(uid));
    if (!stored) return false;
    const hash = await hashOf(secret, Buffer.from(stored.salt, "base64"), stored.cost);
    return timingSafeEqual(hash, Buffer.from(stored.hash, "base64"));
  }

  return {
    has: (uid) => shelf.get(keyOf(uid)) !== undefined,
    async require(uid, secret, onWrong) {
      if (!shelf.get(keyOf(uid)))
        throw denied("it was asked under your own uid: set a secret first, which its program cannot know");
      if (secret === undefined) throw denied("it was asked under your own uid: give your secret");
      await inTurn(async () => {
        const { wrong = 0, lastAt = 0 } = tries.get(uid) ?? {};
        const pauseMs = lastAt + limits.humanSecretPauseMs - performance.now();
        if (wrong >= limits.humanSecretTries && pauseMs > 0) {
          throw tooMany(`the secret was wrong ${limits.humanSecretTries} times`, pauseMs);
        }
        if (await isRight(uid, secret)) return tries.delete(uid);
        tries.set(uid, { wrong: pauseMs > 0 ? wrong + 1 : 1, lastAt: performance.now() });
        await onWrong();
        throw denied("the secret is wrong");
      });
    },
    async set(uid, secret, isFirst) {
      if (secret === null) return shelf.remove(keyOf(uid));
      const salt = randomBytes(16);
      const hash = await inTurn(() => hashOf(secret, salt, cost));
      if (isFirst && shelf.get(keyOf(uid))) throw denied("it was set just now: give that one");
      const stored = { salt: salt.toString("base64"), hash: hash.toString("base64"), cost };
      await shelf.put(keyOf(uid), { ...stored, set_at: new Date().toISOString() });
    },
  };
}

function hashOf(secret: string, salt: Buffer, N: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const options = { N, r: 8, p: 1, maxmem: 2 * 128 * 8 * N };
    scrypt(secret.normalize("NFC"), salt, hashBytes, options, (error, key) => (error ? reject(error) : resolve(key)));
  });
}

function denied(detail: string): ProblemError {
  return new ProblemError("policy-denied", { detail });
}

function tooMany(detail: string, retryAfterMs: number): ProblemError {
  return new ProblemError("too-many-requests", { detail, retry_after_ms: Math.ceil(retryAfterMs) });
}
