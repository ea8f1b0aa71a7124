// What is asked about quotas. What is used is told from the records that limit it; bytes of artifacts are artifacts' to tell.

import { createHash } from "node:crypto";
import { type Bus, type Call, handler, request, type ServeOptions } from "@aether/bus";
import {
  changeQuota,
  listQuotas,
  ProblemError,
  principalName,
  type Quota,
  readQuota,
  readRates,
  readUsage,
  removeQuota,
  setQuota,
} from "@aether/contracts";
import type { HolderBook } from "./holders.ts";
import type { Quotas } from "./quotas.ts";
import type { Waiters } from "./waiters.ts";

export interface QuotaHandlerParts {
  bus: Bus;
  quotas: Quotas;
  holders: Pick<HolderBook, "usageOf" | "all">;
  waiters: Waiters;
}

/** Woken when a limit has changed. */
export const ratesKey = "rates";

export function quotaHandlers({ bus, quotas, holders, waiters }: QuotaHandlerParts): ServeOptions["handlers"] {
  /** A principal is the owner of its quota, whether anything is known of it or not. */
  const load = async ({ principal }: { principal: string }) => ({
    resource: { id: principal, owner: principal, labels: {} },
    value: null,
  });
  const digest = (asked: object) => `sha256:${createHash("sha256").update(JSON.stringify(asked)).digest("hex")}`;

  async function describe(principals: readonly string[], { requestId }: Pick<Call, "requestId">): Promise<Quota[]> {
    const envelope = { request_id: requestId };
    const bytes = await request(bus, readUsage, { owners: [...principals] }, { envelope, timeoutMs: 2000 }).then(
      ({ reply }) => reply.bytes,
      () => [], // what artifacts do not say is not known; the rest is
    );
    return principals.map((principal, i) => {
      const usage = holders.usageOf(principal);
      return {
        principal,
        limits: quotas.limitsOf(principal),
        used: {
          jobs: usage.jobs,
          running_jobs: usage.running,
          cpus: usage.cpusMilli / 1000,
          memory_bytes: usage.memoryBytes,
          artifact_bytes: bytes[i] ?? null,
        },
        set: quotas.settingOf(principal),
      };
    });
  }

  async function describeOne(principal: string, call: Pick<Call, "requestId">): Promise<Quota> {
    const [quota] = await describe([principal], call);
    if (!quota) throw new Error("nothing was described");
    return quota;
  }

  /** Everybody who uses something or for whom something is set. */
  function known(): string[] {
    const using = [...holders.all()].flatMap(({ owner, jobs }) => (Object.keys(jobs).length > 0 ? [owner] : []));
    return [...new Set([...quotas.principals(), ...using])].sort();
  }

  return [
    handler(readQuota, {
      async handle({ principal }, call) {
        const own = principalName(call.principal);
        if (principal !== undefined && principal !== own && call.decision?.scope !== "all")
          throw new ProblemError("not-found");
        return describeOne(principal ?? own, call);
      },
    }),
    handler(listQuotas, {
      async handle({ limit, cursor = "" }, call) {
        const all = call.decision?.scope === "all" ? known() : [principalName(call.principal)];
        const found = all.filter((principal) => principal > cursor).slice(0, limit + 1);
        const items = await describe(found.slice(0, limit), call);
        return { items, next_cursor: found.length > limit ? (items.at(-1)?.principal ?? null) : null };
      },
    }),
    handler(setQuota, {
      load,
      digest,
      async handle({ principal, ...asked }, call) {
        await quotas.change(principal, (before) => changeQuota(before, asked));
        return describeOne(principal, call);
      },
    }),
    handler(removeQuota, {
      load,
      digest,
      async handle({ principal }, call) {
        await quotas.change(principal, () => ({}));
        return describeOne(principal, call);
      },
    }),
    handler(readRates, {
      async handle({ known: revision, wait_ms }, call) {
        const changed = waiters.wait(ratesKey, quotas.sequence > revision ? 0 : wait_ms, call.closing);
        await changed;
        const rates = quotas.principals().flatMap((principal) => {
          const { requests_per_second } = quotas.settingOf(principal);
          return typeof requests_per_second === "number" ? [[principal, requests_per_second] as const] : [];
        });
        return { revision: quotas.sequence, rates: Object.fromEntries(rates) };
      },
    }),
  ];
}
