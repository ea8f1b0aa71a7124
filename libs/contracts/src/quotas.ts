// Quotas: what a principal may use at once. What is shipped depends on the kind of principal; operators set others, for one
// principal or for every one of a kind (`agent:*`), and a limit that is set for the principal itself goes before both.
//
// Jobs counts and keeps quotas. Artifacts counts its own bytes and the gateway requests; both only learn the limits.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { limits } from "./limits.ts";
import { requireBytes, sizeSchema } from "./units.ts";

/** `user:1000`, `agent:aurora`, or all of a kind. */
export const QuotaPrincipal = z
  .string()
  .regex(
    /^(user:(\d{1,10}|\*)|(agent|service):([A-Za-z0-9][A-Za-z0-9._-]{0,126}|\*))$/,
    'must be a principal such as "user:1000" or "agent:aurora", or a kind such as "agent:*"',
  );

const limit = <T extends z.ZodType>(schema: T) => schema.nullable();

/** What may be used at once; null where there is no limit. */
export const QuotaLimits = z.object({
  jobs: z.int().describe("Jobs that have not ended"),
  running_jobs: limit(z.int()).describe("Jobs that a worker has taken and that have not ended"),
  cpus: limit(z.number()).describe("Cores that running jobs ask for together"),
  memory_bytes: limit(z.int()).describe("Memory that running jobs ask for together"),
  artifact_bytes: limit(z.int()).describe("Bytes of artifacts, each counted in full"),
  requests_per_second: limit(z.number()).describe("HTTP requests; operators have no limit until one is set for them"),
});
export type QuotaLimits = z.infer<typeof QuotaLimits>;
export type QuotaName = keyof QuotaLimits;

/** Limits that operators have set; what is absent is not theirs. */
export const QuotaSetting = QuotaLimits.partial();
export type QuotaSetting = z.infer<typeof QuotaSetting>;

/** As it is stored in KV `quotas`. */
export const QuotaRecord = z.object({ principal: z.string(), set: QuotaSetting });
export type QuotaRecord = z.infer<typeof QuotaRecord>;

const GIB = 1024 ** 3;
const unlimited = { running_jobs: null, cpus: null, memory_bytes: null, artifact_bytes: null };
const shipped: Record<"user" | "agent" | "service", QuotaLimits> = {
  user: { ...unlimited, jobs: 1000, requests_per_second: 200 },
  agent: { ...unlimited, jobs: 100, running_jobs: 10, artifact_bytes: 10 * GIB, requests_per_second: 50 },
  service: { ...unlimited, jobs: 1000, requests_per_second: null },
};

/** What holds for a principal, after what was set for it, for its kind, and what is shipped. */
export function limitsOf(principal: string, setFor: (principal: string) => QuotaSetting | null): QuotaLimits {
  const kind = kindOf(principal);
  const set = { ...definedOf(setFor(`${kind}:*`) ?? {}), ...definedOf(setFor(principal) ?? {}) };
  return { ...shipped[kind], ...set };
}

function kindOf(principal: string): keyof typeof shipped {
  if (principal.startsWith("agent:")) return "agent";
  return principal.startsWith("service:") ? "service" : "user";
}

const Quota = z.object({
  principal: z.string(),
  limits: QuotaLimits,
  used: QuotaLimits.omit({ requests_per_second: true }).extend({
    running_jobs: z.int(),
    cpus: z.number(),
    memory_bytes: z.int(),
    artifact_bytes: z.int().nullable().describe("Null while artifacts does not answer"),
  }),
  set: QuotaSetting.describe("What operators have set for exactly this principal"),
});
export type Quota = z.infer<typeof Quota>;

const count = z.int().min(0).max(limits.quotaJobsMax);
const change = <T extends z.ZodType>(schema: T, about: string) =>
  schema.nullable().optional().describe(`${about}; null: no longer set, absent: as it is`);

/** Limits as they are asked for. */
export const QuotaChange = z.strictObject({
  jobs: change(count, "Jobs that have not ended"),
  running_jobs: change(count, "Jobs that run"),
  cpus: change(z.number().min(0).max(limits.cpusMax), "Cores that running jobs ask for together"),
  memory: change(sizeSchema(0, limits.memoryMaxBytes), "Memory that running jobs ask for together"),
  artifacts: change(sizeSchema(0, limits.diskMaxBytes), "Bytes of artifacts"),
  requests_per_second: change(z.number().min(0.01).max(1_000_000), "HTTP requests a second"),
});
export type QuotaChange = z.infer<typeof QuotaChange>;

/** A setting as it is after a change. */
export function changeQuota(before: QuotaSetting, asked: QuotaChange): QuotaSetting {
  const { memory, artifacts, ...same } = asked;
  const bytes = (size: string | number | null | undefined) => (size == null ? size : requireBytes(size));
  const changed = { ...same, memory_bytes: bytes(memory), artifact_bytes: bytes(artifacts) };
  const all = Object.entries({ ...before, ...definedOf(changed) });
  return QuotaSetting.parse(Object.fromEntries(all.filter(([, value]) => value !== null)));
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function definedOf<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
}

export const readQuota = defineOperation({
  name: "jobs.quota",
  kind: "unary",
  summary: "Read what a principal may use at once, and uses",
  http: { method: "GET", path: "/quota", status: 200 },
  request: z.strictObject({ principal: QuotaPrincipal.optional().describe("Whose; the caller's own where absent") }),
  reply: Quota,
  problems: ["invalid-request", "not-found"],
  access: { action: "read_quota", resource: "Quota", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const listQuotas = defineOperation({
  name: "jobs.quotas",
  kind: "unary",
  summary: "List the quotas of principals who use something or for whom something is set",
  http: { method: "GET", path: "/quotas", status: 200 },
  request: z.strictObject({
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: z.string().max(200).optional(),
  }),
  reply: z.object({ items: z.array(Quota), next_cursor: z.string().nullable() }),
  problems: ["invalid-request"],
  access: { action: "read_quota", resource: "Quota", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const setQuota = defineOperation({
  name: "jobs.set_quota",
  kind: "unary",
  summary: "Set limits of a principal, or of every principal of a kind",
  http: { method: "PUT", path: "/quota/{principal}", status: 200 },
  request: QuotaChange.extend({ principal: QuotaPrincipal }),
  reply: Quota,
  problems: ["invalid-request", "not-found", "policy-denied", "audit-unavailable", "storage-full"],
  access: { action: "set_quota", resource: "Quota", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

export const removeQuota = defineOperation({
  name: "jobs.remove_quota",
  kind: "unary",
  summary: "Take back everything that was set for a principal",
  http: { method: "DELETE", path: "/quota/{principal}", status: 200 },
  request: z.strictObject({ principal: QuotaPrincipal }),
  reply: Quota,
  problems: ["invalid-request", "not-found", "policy-denied", "audit-unavailable"],
  access: { action: "set_quota", resource: "Quota", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

/** Every rate of requests that was set, for the gateway, which is answered when there is a newer one. */
export const readRates = defineOperation({
  name: "jobs.rates",
  kind: "unary",
  summary: "Read the request rates that were set",
  request: z.strictObject({ known: z.int().min(0), wait_ms: z.int().min(0).max(limits.requestDeadlineMs) }),
  reply: z.object({ revision: z.int(), rates: z.record(z.string(), z.number()) }),
  problems: [],
  access: { exempt: "fenced", reason: "for the gateway alone, which holds the rates and has no route to them" },
  callers: ["gateway"],
  retry: "safe",
  timeoutMs: 2 * limits.requestDeadlineMs,
});

/** How many bytes of artifacts principals have, in the order in which they were asked for. */
export const readUsage = defineOperation({
  name: "artifacts.usage",
  kind: "unary",
  summary: "Read how many bytes of artifacts principals have",
  request: z.strictObject({ owners: z.array(z.string().max(210)).max(limits.pageMax) }),
  reply: z.object({ bytes: z.array(z.int()) }),
  problems: [],
  access: { exempt: "fenced", reason: "asked by jobs once policy has allowed `read_quota`" },
  callers: ["jobs"],
  retry: "safe",
});
