// The newest values of a KV bucket in memory, for what is asked often and holds few keys. It follows the bucket, so it may be
// a moment behind: whoever decides on a value writes against its revision, and is told when it was not the newest.
import type { z } from "zod";
import type { Entry } from "./bucket.ts";
import type { Bus } from "./connection.ts";
import { lastMessage } from "./messages.ts";
import { startTail } from "./tail.ts";

export interface Mirror<T> extends AsyncDisposable {
  get(key: string): Entry<T> | null;
  entries(): Iterable<[string, Entry<T>]>;
  /** Takes over what this process has just written or read, unless it knows a newer value. */
  learn(key: string, entry: Entry<T>): void;
  /** Sequence of the newest change that it knows. */
  readonly sequence: number;
}

const caughtUpMs = 60_000;

/** Opens the mirror; resolves when it has what the bucket held at that moment. `onChange` is told of each change. */
export async function openMirror<T>(
  bus: Bus,
  bucket: string,
  schema: z.ZodType<T>,
  onChange: (value: T | null) => void,
): Promise<Mirror<T>> {
  const prefix = `$KV.${bucket}.`;
  /** With null where the key was removed: an older value must not come back. */
  const values = new Map<string, Entry<T | null>>();
  const caughtUp = Promise.withResolvers<void>();
  const newest = (await lastMessage(bus, `KV_${bucket}`, `${prefix}>`))?.sequence ?? 0;
  let sequence = 0;

  const isNew = (key: string, revision: number) => (values.get(key)?.revision ?? 0) < revision;

  function learn(key: string, entry: Entry<T | null>): void {
    sequence = Math.max(sequence, entry.revision);
    if (!isNew(key, entry.revision)) return;
    values.set(key, entry);
    onChange(entry.value);
  }

  function read(key: string, data: Uint8Array | null, revision: number): void {
    if (!isNew(key, revision)) return;
    if (data === null) {
      learn(key, { value: null, revision });
      return;
    }
    const parsed = schema.safeParse(JSON.parse(new TextDecoder().decode(data)));
    if (parsed.success) learn(key, { value: parsed.data, revision });
    else bus.log.error({ bucket, key, err: parsed.error }, "a value that is none is passed over");
  }

  const tail = startTail(bus, {
    stream: `KV_${bucket}`,
    subject: `${prefix}>`,
    from: 1,
    onMessages(messages) {
      for (const message of messages) {
        read(message.subject.slice(prefix.length), message.data, message.sequence);
        if (message.sequence >= newest) caughtUp.resolve();
      }
    },
  });
  if (newest === 0) caughtUp.resolve();
  const late = setTimeout(() => caughtUp.reject(new Error(`${bucket} was not read within a minute`)), caughtUpMs);
  try {
    await caughtUp.promise;
  } catch (error) {
    await tail[Symbol.asyncDispose]();
    throw error;
  } finally {
    clearTimeout(late);
  }
  return {
    get(key) {
      const entry = values.get(key);
      return entry ? present(entry) : null;
    },
    *entries() {
      for (const [key, entry] of values) {
        const found = present(entry);
        if (found) yield [key, found];
      }
    },
    learn,
    get sequence() {
      return sequence;
    },
    [Symbol.asyncDispose]: () => tail[Symbol.asyncDispose](),
  };
}

function present<T>({ value, revision }: Entry<T | null>): Entry<T> | null {
  return value === null ? null : { value, revision };
}
