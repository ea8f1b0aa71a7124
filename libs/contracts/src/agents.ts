// Agents: programs that act under a name of their own, for the person who owns them. An agent is known by its socket, which only
// its sandbox can reach; jobs keeps the records, because what an agent has (a folder, limits, a socket) is had by a job.
import { z } from "zod";
import { defineOperation } from "./define.ts";
import { limits } from "./limits.ts";
import { durationSchema, formatDuration, sizeSchema } from "./units.ts";

/** A path, a subject and a line of a terminal may hold it as it is. */
export const AgentName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/, "must be 1 to 32 lower-case letters, digits and -, no - at its ends");

const Owner = z
  .string()
  .regex(/^user:(0|[1-9]\d{0,9})$/, "must be a user by number, such as user:1000")
  .describe("For whom it works");

export const AgentLimits = z
  .strictObject({
    cpus: z.number().min(limits.cpusMin).max(limits.cpusMax).default(1).describe("Cores; fractions allowed"),
    memory: sizeSchema(limits.memoryMinBytes, limits.memoryMaxBytes).default("1GiB").describe("Memory, swap excluded"),
    pids: z.int().min(1).max(limits.pidsMax).default(limits.pidsDefault).describe("Processes and threads"),
    disk: sizeSchema(limits.diskMinBytes, limits.diskMaxBytes).default("1GiB").describe("Its folder, with /outputs"),
    timeout: durationSchema(1, limits.timeoutMaxMs)
      .default(formatDuration(limits.timeoutDefaultMs))
      .describe("Longest run of one attempt"),
  })
  .describe("What its program may use: asked for where nothing is said, and never more");

export const Agent = z.object({
  id: AgentName,
  name: AgentName,
  owner: Owner,
  limits: AgentLimits,
  created_at: z.iso.datetime(),
  created_by: z.string(),
  revision: z.int(),
});
export type Agent = z.infer<typeof Agent>;

export const addAgent = defineOperation({
  name: "jobs.add-agent",
  kind: "unary",
  summary: "Make an agent",
  http: { method: "POST", path: "/agents", status: 201 },
  request: z.strictObject({
    name: AgentName.describe("Its name, for ever its first owner's"),
    owner: Owner.optional().describe("For whom it works; the caller where absent, operators may name another"),
    limits: AgentLimits.prefault({}),
  }),
  reply: Agent,
  problems: ["invalid-request", "policy-denied", "conflict", "too-many-requests", "audit-unavailable"],
  access: { action: "add_agent", resource: "AgentRecord", owner: "caller", record: "before" },
  callers: ["gateway"],
  retry: "with-key",
});

export const getAgent = defineOperation({
  name: "jobs.get-agent",
  kind: "unary",
  summary: "Read an agent",
  http: { method: "GET", path: "/agents/{name}", status: 200 },
  request: z.strictObject({ name: AgentName }),
  reply: Agent,
  problems: ["invalid-request", "not-found"],
  access: { action: "read_agent", resource: "AgentRecord", owner: "record", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const listAgents = defineOperation({
  name: "jobs.list-agents",
  kind: "unary",
  summary: "List agents, by name",
  http: { method: "GET", path: "/agents", status: 200 },
  request: z.strictObject({
    limit: z.int().min(1).max(limits.pageMax).default(limits.pageDefault),
    cursor: z.string().max(200).optional(),
  }),
  reply: z.object({ items: z.array(Agent), next_cursor: z.string().nullable() }),
  problems: ["invalid-request"],
  access: { action: "list_agents", resource: "Agents", owner: "caller", record: "summary" },
  callers: ["gateway"],
  retry: "safe",
});

export const removeAgent = defineOperation({
  name: "jobs.remove-agent",
  kind: "unary",
  summary: "Remove an agent: its socket goes at once, its folder stays",
  http: { method: "DELETE", path: "/agents/{name}", status: 200 },
  request: z.strictObject({ name: AgentName }),
  reply: Agent,
  problems: ["invalid-request", "not-found", "policy-denied", "audit-unavailable"],
  access: { action: "remove_agent", resource: "AgentRecord", owner: "record", record: "before" },
  callers: ["gateway"],
  retry: "safe",
});

/** What the gateway makes sockets by: asked again and again, answered when something has changed or the time is up. */
export const followAgents = defineOperation({
  name: "jobs.follow-agents",
  kind: "unary",
  summary: "Every agent there is, as soon as that is not what the asker knows",
  request: z.strictObject({
    /** Of what the asker knows; 0 where it knows nothing. */
    version: z.int().min(0),
    wait_ms: z.int().min(0).max(limits.requestDeadlineMs),
  }),
  reply: z.object({
    version: z.int().min(1),
    agents: z.array(z.object({ name: AgentName, owner: Owner })).max(2 * limits.agentsMax),
  }),
  problems: [],
  access: { exempt: "fenced", reason: "it has no route: the gateway asks by itself, for the sockets that it makes" },
  callers: ["gateway"],
  retry: "safe",
  timeoutMs: 2 * limits.requestDeadlineMs,
});
