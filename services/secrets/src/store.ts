// The truth about secrets: KV `secrets`, one record per secret, its sealed value in it. Every change is one compare-and-set, so
// any number of instances may run; lists read the truth as well, because an owner has few.
import { type Bus, type Entry, openBucket, RevisionConflict, readMessages } from "@aether/bus";
import { ProblemError } from "@aether/contracts";
import { keyOf, keysOf, StoredSecret } from "./record.ts";

export interface Store {
  get(of: { owner: string; name: string }): Promise<Entry<StoredSecret> | null>;
  /** Writes the record behind exactly the one that was read; throws `conflict` where another came first. */
  put(secret: StoredSecret, before: Entry<StoredSecret> | null): Promise<Entry<StoredSecret>>;
  remove(secret: Entry<StoredSecret>): Promise<void>;
  /** One owner's, or everybody's; a record that is written meanwhile may come twice. */
  list(owner: string | null): AsyncGenerator<Entry<StoredSecret>, void, void>;
}

const stream = "KV_secrets";
const page = { maxMessages: 64, maxBytes: 1024 * 1024 };
const storeFullCodes: readonly unknown[] = [10077, 10047, 10023];

export function openStore(bus: Bus): Store {
  const bucket = openBucket(bus, "secrets", StoredSecret);
  return {
    get: (of) => bucket.get(keyOf(of)),
    async put(secret, before) {
      const key = keyOf(secret);
      const write = before ? bucket.update(key, secret, before.revision) : bucket.create(key, secret);
      return { value: secret, revision: await write.catch(rethrow) };
    },
    remove: ({ value, revision }) => bucket.remove(keyOf(value), revision).catch(rethrow),
    async *list(owner) {
      const pattern = `$KV.secrets.${owner === null ? ">" : keysOf(owner)}`;
      for (let from = 1; ; ) {
        // A bucket holds the last message of each key and no other.
        const messages = await readMessages(bus, stream, pattern, { from, ...page });
        const last = messages.at(-1);
        if (!last) return;
        for (const { data, sequence, header } of messages) {
          if (header("KV-Operation")) continue;
          yield { value: StoredSecret.parse(JSON.parse(new TextDecoder().decode(data))), revision: sequence };
        }
        from = last.sequence + 1;
      }
    },
  };
}

function rethrow(error: unknown): never {
  if (error instanceof RevisionConflict)
    throw new ProblemError("conflict", { detail: "somebody else changed this secret just now" }, { cause: error });
  if (storeFullCodes.includes((error as { code?: unknown } | null)?.code))
    throw new ProblemError("storage-full", { detail: "there is no room for secrets" }, { cause: error });
  throw error;
}
