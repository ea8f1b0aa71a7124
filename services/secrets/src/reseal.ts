// After a start: what is kept under an older key of the file is sealed under the one in use, and what is kept under none of them
// is counted, for health to tell. A record that changes meanwhile is left: whoever changed it used the key in use, or the next
// start does it.
import { ProblemError } from "@aether/contracts";
import type { Logger } from "@aether/telemetry";
import type { Keys } from "./key-file.ts";
import { idOf, type StoredSecret } from "./record.ts";
import { KeyMissing, reseal, SealBroken } from "./seal.ts";
import type { Store } from "./store.ts";

export interface Resealed {
  resealed: number;
  /** Ids of those that no key of the file opens. */
  closed: string[];
}

/** Goes through all secrets once. */
export async function resealAll(store: Store, keys: Keys, log: Logger): Promise<Resealed> {
  const closed: string[] = [];
  let resealed = 0;
  for await (const entry of store.list(null)) {
    if (entry.value.sealed.key_id === keys.current.id) continue;
    const next = resealOne(keys, entry.value);
    if (next === null) closed.push(idOf(entry.value));
    else if (await isStored(store.put(next, entry))) resealed++;
  }
  if (resealed > 0) log.info({ resealed }, "secrets are kept under the key in use");
  if (closed.length > 0) log.error({ closed }, "no key of the key file opens these secrets");
  return { resealed, closed };
}

function resealOne(keys: Keys, secret: StoredSecret): StoredSecret | null {
  try {
    return { ...secret, sealed: reseal(keys, secret, secret.sealed) };
  } catch (error) {
    if (error instanceof KeyMissing || error instanceof SealBroken) return null;
    throw error;
  }
}

async function isStored(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (error instanceof ProblemError && error.slug === "conflict") return false;
    throw error;
  }
}
