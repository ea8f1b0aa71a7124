// What people ask of agents, and the gateway, which makes their sockets.
import { type Bus, type Call, type Entry, handler, request } from "@aether/bus";
import {
  type Action,
  addAgent,
  createId,
  type DecideReply,
  decide,
  followAgents,
  getAgent,
  isTerminal,
  type JobSpec,
  jobStates,
  limits,
  listAgents,
  ProblemError,
  principalName,
  removeAgent,
  requireBytes,
  requireDurationMs,
} from "@aether/contracts";
import { type Agents, type StoredAgent, toAgent } from "./agents.ts";
import type { JobIndex } from "./index-view.ts";
import type { Store } from "./store.ts";
import type { Waiters } from "./waiters.ts";

export interface AttachParts {
  bus: Bus;
  agents: Agents;
  index: Pick<JobIndex, "list">;
  store: Pick<Store, "get">;
}

export interface AgentHandlerParts {
  bus: Bus;
  agents: Agents;
  waiters: Waiters;
}

/** Woken when this instance has seen a change of an agent. */
export const agentsKey = "agents";
/** The label by which the jobs that run as an agent are found. */
const agentLabel = "aether.agent";
const openStates = jobStates.filter((state) => !isTerminal(state));

export function agentHandlers({ bus, agents, waiters }: AgentHandlerParts) {
  const load = async ({ name }: { name: string }) => {
    const entry = await agents.get(name);
    return entry && { resource: { id: name, owner: entry.value.owner, labels: {} }, value: entry };
  };
  return [
    handler(addAgent, {
      async handle({ name, owner, limits: wanted }, call) {
        const caller = principalName(call.principal);
        const own = owner ?? caller;
        if (own !== caller) requireAllowed(await ask(bus, call, "add_agent", { id: name, owner: own }));
        return toAgent(await agents.add({ name, owner: own, limits: wanted, created_by: caller }));
      },
    }),
    handler(getAgent, {
      load,
      handle: async (_request, call: Call<Entry<StoredAgent>>) => toAgent(call.loaded),
    }),
    handler(listAgents, {
      async handle({ limit, cursor }, call) {
        const owner = call.decision?.scope === "all" ? null : principalName(call.principal);
        const found = agents.list(owner, cursor ?? null, limit + 1);
        const items = found.slice(0, limit).map(toAgent);
        return { items, next_cursor: found.length > limit ? (items.at(-1)?.name ?? null) : null };
      },
    }),
    handler(removeAgent, {
      load,
      handle: async (_request, call: Call<Entry<StoredAgent>>) => toAgent(await agents.remove(call.loaded)),
    }),
    handler(followAgents, {
      async handle({ version, wait_ms }, { closing }) {
        // The wait begins before the look, so nothing falls in between.
        const changed = waiters.wait(agentsKey, wait_ms, closing);
        if (agents.version <= version) await changed;
        const known = agents.list(null, null, Number.POSITIVE_INFINITY);
        return { version: agents.version, agents: known.map(({ value: { name, owner } }) => ({ name, owner })) };
      },
    }),
  ] as const;
}

/**
 * The spec of a job that runs as an agent, with the agent's limits for its own; as it is where it names none. That its submitter
 * may run the agent is decided and recorded; one that he may not see is as one that is not there.
 */
export async function attachAgent(parts: AttachParts, spec: JobSpec, call: Call): Promise<JobSpec> {
  if (!spec.attach) return spec;
  const { bus, agents } = parts;
  const name = spec.attach.agent;
  const agent = await agents.get(name);
  const decision = agent && (await ask(bus, call, "run_agent", { id: name, owner: agent.value.owner }));
  if (!agent || !decision || (decision.outcome !== "allow" && !decision.visible))
    throw invalid("attach.agent", "there is no such agent");
  requireAllowed(decision);
  // What stands in its folder is the agent's making: nothing of ours writes there.
  const inside = spec.inputs.findIndex(({ path }) => path.startsWith("/workspace"));
  if (inside >= 0) throw invalid(`inputs.${inside}.path`, "must be under /inputs, as /workspace is the agent's folder");
  const labels = { ...spec.labels, [agentLabel]: name };
  if (Object.keys(labels).length > limits.labelPairs) throw invalid("labels", "leave no room for the agent's");
  const attached = { ...spec, labels, ...within(spec, agent.value.limits) };
  const running = await findRunning(parts, name);
  if (running) throw new ProblemError("conflict", { detail: `${name} runs already, as ${running}` });
  return attached;
}

/** An agent has one folder. Two that come at the same moment are told apart where it is mounted. */
async function findRunning({ index, store }: AttachParts, name: string): Promise<string | null> {
  const labels = [`${agentLabel}=${name}`];
  const filter = { owner: null, labels, states: openStates, intentId: null, pool: null, before: null };
  for (const { value: seen } of index.list({ ...filter, limit: 100 })) {
    const job = seen.spec.attach?.agent === name ? await store.get(seen.id) : null;
    if (job && !isTerminal(job.value.state)) return seen.id;
  }
  return null;
}

/** What is not said is the agent's whole limit; what is more than that is refused. */
function within(spec: JobSpec, most: StoredAgent["limits"]): Pick<JobSpec, "resources" | "timeout"> {
  const { resources } = spec;
  const cpus = resources.cpus ?? most.cpus;
  const memory = resources.memory ?? most.memory;
  const pids = resources.pids === limits.pidsDefault ? most.pids : resources.pids;
  const timeout = requireDurationMs(spec.timeout) === limits.timeoutDefaultMs ? most.timeout : spec.timeout;
  const over = (path: string, limit: string | number) => invalid(path, `is more than the agent's limit of ${limit}`);
  if (cpus > most.cpus) throw over("resources.cpus", most.cpus);
  if (requireBytes(memory) > requireBytes(most.memory)) throw over("resources.memory", most.memory);
  if (pids > most.pids) throw over("resources.pids", most.pids);
  if (requireDurationMs(timeout) > requireDurationMs(most.timeout)) throw over("timeout", most.timeout);
  // Its folder is a file system of exactly that size.
  return { resources: { ...resources, cpus, memory, pids, disk: most.disk }, timeout };
}

async function ask(
  bus: Bus,
  call: Call,
  action: Action,
  resource: { id: string; owner: string },
): Promise<DecideReply> {
  const { reply } = await request(
    bus,
    decide,
    {
      principal: call.principal,
      action,
      resource: { type: "AgentRecord", labels: {}, ...resource },
      context: {},
      ...(call.token !== undefined && { token: call.token }),
      record: "before",
      request_id: createId("req"),
      intent_id: call.intentId,
      job_id: call.createdId,
      digest: null,
    },
    { envelope: { request_id: call.requestId } },
  );
  return reply;
}

function requireAllowed({ outcome, decision_id: id, reason, policies }: DecideReply): void {
  if (outcome !== "allow")
    throw new ProblemError("policy-denied", { detail: reason, decision: { id, outcome, reason, policies } });
}

function invalid(path: string, message: string): ProblemError {
  return new ProblemError("invalid-request", { detail: `${path}: ${message}`, errors: [{ path, message }] });
}
