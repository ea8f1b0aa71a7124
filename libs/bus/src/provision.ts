// Makes the streams and buckets of an account, once, and compares what the server has with what was asked: a server that
// does not know a feature ignores it silently, so only the comparison tells.
import { DiscardPolicy, RetentionPolicy, StorageType, type StreamConfig } from "@nats-io/jetstream";
import type { Bus } from "./connection.ts";
import { type StreamSpec, streams } from "./topology.ts";

/** What is written again and again makes room for itself; everything else refuses when it is full. */
const dropsOldest: ReadonlySet<StreamSpec["kind"]> = new Set(["log", "audit"]);
const nanosPerMs = 1_000_000;

/** Creates or updates the account's streams within `storeBytes`; throws when the server has something else than asked. */
export async function provision(
  bus: Bus,
  account: "CORE" | "AUDIT",
  options: { storeBytes: number; replicas?: number },
): Promise<void> {
  for (const spec of streams.filter((stream) => stream.account === account)) {
    const wanted = toConfig(spec, options.storeBytes, options.replicas ?? 1);
    const exists = await bus.jsm.streams.info(spec.name).catch(() => null);
    const { config } = exists ? await bus.jsm.streams.update(spec.name, wanted) : await bus.jsm.streams.add(wanted);
    const differing = Object.entries(wanted).filter(
      ([key, value]) => !sameValue(value, config[key as keyof StreamConfig]),
    );
    if (differing.length > 0) {
      throw new Error(
        `stream ${spec.name}: the server did not take ${differing.map(([key]) => key).join(", ")}; nats-server 2.15.1 or newer is needed`,
      );
    }
  }
}

function toConfig(spec: StreamSpec, storeBytes: number, replicas: number): Partial<StreamConfig> & { name: string } {
  return {
    name: spec.name,
    subjects: spec.subjects,
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    num_replicas: replicas,
    discard: dropsOldest.has(spec.kind) ? DiscardPolicy.Old : DiscardPolicy.New,
    max_msgs_per_subject: spec.kind === "bucket" ? 1 : -1,
    max_bytes: Math.floor(storeBytes * spec.maxBytesShare),
    max_age: (spec.maxAgeMs ?? 0) * nanosPerMs,
    duplicate_window: Math.min(120_000, spec.maxAgeMs ?? 120_000) * nanosPerMs,
    allow_direct: true,
    deny_delete: spec.kind !== "log" && spec.kind !== "memory",
    deny_purge: spec.kind === "audit" || spec.kind === "memory",
    allow_msg_ttl: spec.kind === "bucket",
    allow_rollup_hdrs: false,
  };
}

function sameValue(wanted: unknown, got: unknown): boolean {
  return JSON.stringify(wanted) === JSON.stringify(got ?? (wanted === false || wanted === 0 ? wanted : undefined));
}
