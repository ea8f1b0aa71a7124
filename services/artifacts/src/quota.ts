// What artifacts knows of quotas: how many bytes a principal may have, which operators set and jobs keeps, and how many it has,
// which is told to jobs for whom may read it.
import { type Bus, handler, openMirror } from "@aether/bus";
import { limitsOf, QuotaRecord, readUsage } from "@aether/contracts";
import type { Registry } from "@aether/telemetry";
import type { Store } from "./store.ts";
import type { ByteQuota } from "./uploads.ts";

/** Opens the limits; resolves when they are known. */
export async function openByteQuota(bus: Bus, registry: Registry): Promise<ByteQuota & AsyncDisposable> {
  const refused = registry.counter("aether.quota.refused", "{request}", "What a quota has refused, by its name");
  const set = new Map<string, QuotaRecord["set"]>();
  const mirror = await openMirror(
    bus,
    "quotas",
    QuotaRecord,
    (record) => record && set.set(record.principal, record.set),
  );
  return {
    of: (owner) => limitsOf(owner, (principal) => set.get(principal) ?? null).artifact_bytes,
    onRefused: () => refused.add(1, { "aether.quota": "artifact_bytes" }),
    [Symbol.asyncDispose]: () => mirror[Symbol.asyncDispose](),
  };
}

export function usageHandler({ store }: { store: Store }) {
  return handler(readUsage, {
    handle: ({ owners }) => store.exclusive(async () => ({ bytes: owners.map(store.index.ownerBytes) })),
  });
}
