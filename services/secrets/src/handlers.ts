// What people ask of secrets: set, list, delete. A name is looked for among the caller's own and nowhere else.
import { randomUUID, timingSafeEqual } from "node:crypto";
import { handler } from "@aether/bus";
import {
  deleteSecret,
  limits,
  listSecrets,
  type Principal,
  ProblemError,
  principalName,
  type Request,
  type Secret,
  setSecret,
} from "@aether/contracts";
import type { Keys } from "./key-file.ts";
import { idOf, type StoredSecret, toPublic } from "./record.ts";
import { KeyMissing, open, SealBroken, seal } from "./seal.ts";
import type { Store } from "./store.ts";

export interface HandlerParts {
  store: Store;
  keys: Keys;
}

export function secretHandlers({ store, keys }: HandlerParts) {
  async function find(name: string, principal: Principal) {
    const owner = principalName(principal);
    const entry = await store.get({ owner, name });
    return { resource: { id: idOf({ owner, name }), owner, labels: entry?.value.labels ?? {} }, entry };
  }

  /** The secret that is set, which need not be there yet. */
  async function loadOrNew({ name, label }: Request<typeof setSecret>, principal: Principal) {
    const { resource, entry } = await find(name, principal);
    return { resource: entry ? resource : { ...resource, labels: toLabels(label) }, value: entry };
  }

  async function load({ name }: Request<typeof deleteSecret>, principal: Principal) {
    const { resource, entry } = await find(name, principal);
    return entry && { resource, value: entry };
  }

  async function requireRoom(owner: string): Promise<void> {
    const names = new Set<string>();
    for await (const { value } of store.list(owner)) names.add(value.name);
    if (names.size < limits.secretsPerOwner) return;
    throw new ProblemError("too-many-requests", {
      detail: `you have ${names.size} secrets, and nobody may have more than ${limits.secretsPerOwner}; delete some`,
    });
  }

  return [
    handler(setSecret, {
      load: loadOrNew,
      // A digest of a value could be guessed against, and one without it would not be of this act: nobody is asked.
      digest: () => null,
      async handle({ name, label }, call) {
        const { bytes } = call;
        try {
          const before = call.loaded;
          if (bytes.length === 0 || bytes.length > limits.secretBytes)
            throw new ProblemError(bytes.length === 0 ? "invalid-request" : "too-large", {
              detail: `a secret has 1 to ${limits.secretBytes} bytes`,
            });
          const owner = principalName(call.principal);
          if (!before) await requireRoom(owner);
          const labels = label || !before ? toLabels(label) : before.value.labels;
          if (before && isSame(keys, before.value, bytes, labels)) return toPublic(before.value, before.revision);
          const now = new Date().toISOString();
          const about = { owner, name, value_id: randomUUID() };
          const next: StoredSecret = {
            ...about,
            labels,
            version: (before?.value.version ?? 0) + 1,
            size_bytes: bytes.length,
            created_at: before?.value.created_at ?? now,
            updated_at: now,
            last_used_at: before?.value.last_used_at ?? null,
            sealed: seal(keys, about, bytes),
          };
          const stored = await store.put(next, before);
          return toPublic(stored.value, stored.revision);
        } finally {
          bytes.fill(0);
        }
      },
    }),
    handler(listSecrets, {
      async handle(_request, { principal }) {
        const found = new Map<string, Secret>();
        for await (const { value, revision } of store.list(principalName(principal)))
          found.set(value.name, toPublic(value, revision));
        const items = [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
        return { items, next_cursor: null };
      },
    }),
    handler(deleteSecret, {
      load,
      async handle(_request, { loaded }) {
        await store.remove(loaded);
        return toPublic(loaded.value, loaded.revision);
      },
    }),
  ] as const;
}

/** Whether nothing would change: then a request that is repeated leaves what jobs were promised as it is. */
function isSame(keys: Keys, stored: StoredSecret, bytes: Uint8Array, labels: StoredSecret["labels"]): boolean {
  if (JSON.stringify(sorted(labels)) !== JSON.stringify(sorted(stored.labels))) return false;
  try {
    const value = open(keys, stored, stored.sealed);
    const same = value.length === bytes.length && timingSafeEqual(value, bytes);
    value.fill(0);
    return same;
  } catch (error) {
    // What does not open any more is made good by the new value.
    if (error instanceof KeyMissing || error instanceof SealBroken) return false;
    throw error;
  }
}

const sorted = (labels: StoredSecret["labels"]) => Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));

function toLabels(pairs: readonly string[] = []): StoredSecret["labels"] {
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]));
}
